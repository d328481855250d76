"""One task as Label Studio reports it -> answers, and what cannot be read with the reason.

The server checks nothing that its page or a script sends: unknown questions, values off the scale
and other people's names all arrive. Every task is stated whole: for each question of the study one
answer, None where there is no verdict (any more).
"""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotation.base import (
    ORIGIN,
    ORIGIN_ANSWERS,
    PREFERENCE,
    SKIPPED,
    Answer,
    Question,
    Study,
    Unreadable,
)
from annotation.label_studio.form import COMMENT, REASONS, VERDICT

_PARTS = "from_name", "value"  # of a result: which question, and what was said


class _Malformed(ValueError):
    """Why a part of an answer cannot be read."""


@dataclass
class _Statement:
    """What one annotation says."""

    values: dict[str, int | str] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)  # questions answered in a way that is none
    reasons: tuple[str, ...] = ()
    comment: str = ""


def read_task(
    study: Study, rater: str, user_id: int | None, task: Mapping[str, Any]
) -> tuple[list[Answer], list[Unreadable]]:
    """Return what the rater, whom the server knows as `user_id`, says of one task.

    Of several annotations the newest counts. Others' are refused.
    """
    data = task.get("data")
    uid = data.get("uid") if isinstance(data, Mapping) else None
    if not isinstance(uid, str):
        return [], [_unreadable(f"task-{task.get('id')}", "a task without our uid", task)]
    own, unreadable = _own_annotations(rater, user_id, task)
    for annotation in own[:-1]:
        reason = "a later annotation of the same task counts instead"
        unreadable.append(_unreadable(_source_uid(annotation), reason, annotation))
    if own:
        answers, faults = _read_annotation(study, rater, uid, own[-1])
        return answers, unreadable + faults
    if unreadable:
        return [], unreadable  # who can tell whether the rater withdrew anything
    withdrawn = [
        Answer(
            task_uid=uid,
            rater=rater,
            criterion=question.name,
            value=None,
            source_uid=f"none/{uid}",
            rated_at=moment(task.get("updated_at")),
            asked_at=moment(task.get("created_at")),
        )
        for question in study.questions
    ]
    return withdrawn, unreadable


def _own_annotations(
    rater: str, user_id: int | None, task: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], list[Unreadable]]:
    """Return the rater's own annotations of a task, the newest last, and all others."""
    place = f"task-{task.get('id')}"
    annotations = task.get("annotations")
    if not isinstance(annotations, list):
        return [], [_unreadable(place, "no list of annotations", task)]
    own: list[Mapping[str, Any]] = []
    others: list[Unreadable] = []
    for annotation in annotations:
        if not isinstance(annotation, Mapping):
            others.append(_unreadable(place, "no annotation", {"annotation": annotation}))
            continue
        author = _user_id(annotation.get("completed_by"))
        # the Community edition lets others write in somebody's name, but tells who did
        writer = _user_id(annotation.get("updated_by", author))
        reason = ""
        if author is None or author != user_id:
            reason = f"made by user {author}, but the task is {rater}'s (user {user_id})"
        elif writer not in (None, user_id):
            reason = f"last written by user {writer} in the name of {rater} (user {user_id})"
        elif moment(annotation.get("updated_at")) is None:
            reason = "no updated_at"
        if reason:
            others.append(_unreadable(_source_uid(annotation), reason, annotation))
        else:
            own.append(annotation)
    own.sort(key=lambda annotation: moment(annotation["updated_at"]) or dt.datetime.min)
    return own, others


def _read_annotation(
    study: Study, rater: str, uid: str, annotation: Mapping[str, Any]
) -> tuple[list[Answer], list[Unreadable]]:
    if annotation.get("was_cancelled"):
        said, faults = _Statement(reasons=(SKIPPED,)), list[Unreadable]()
    else:
        said, faults = _statement(study, annotation)
    claimed, lead_time = annotation.get("lead_time"), None  # the browser's: any JSON
    if isinstance(claimed, int | float) and not isinstance(claimed, bool):
        lead_time = float(claimed) if math.isfinite(claimed) and claimed >= 0 else None
    answers = [
        Answer(
            task_uid=uid,
            rater=rater,
            criterion=question.name,
            value=said.values.get(question.name),
            source_uid=_source_uid(annotation),
            rated_at=moment(annotation["updated_at"]),
            lead_time_s=lead_time,
            reasons=said.reasons,
            comment=said.comment,
        )
        for question in study.questions
        if question.name not in said.faulty  # the last readable verdict stays
    ]
    return answers, faults


def _statement(study: Study, annotation: Mapping[str, Any]) -> tuple[_Statement, list[Unreadable]]:
    said, faults = _Statement(), list[Unreadable]()
    questions = {VERDICT + question.name: question for question in study.questions}
    items = annotation.get("result")
    if not isinstance(items, list):
        said.faulty = {question.name for question in study.questions}
        return said, [_unreadable(_source_uid(annotation), "no list of results", annotation)]
    for item in items:
        name, value = (item.get(k) if isinstance(item, Mapping) else None for k in _PARTS)
        question = questions.get(name) if isinstance(name, str) else None
        try:
            if not isinstance(value, Mapping):
                raise _Malformed("a result that is not an object with a value")
            if question is not None:
                said.values[question.name] = _verdict(question, value)
            elif name == REASONS:
                said.reasons = tuple(sorted(_texts(value, "choices")))
            elif name == COMMENT:
                said.comment = "\n".join(_texts(value, "text"))
            else:
                raise _Malformed(f"no question {name!r}; known: {', '.join(sorted(questions))}")
        except _Malformed as fault:
            if question is not None:
                said.faulty.add(question.name)
            alone = {**annotation, "result": [item]}
            faults.append(_unreadable(_source_uid(annotation), str(fault), alone))
    return said, faults


def _verdict(question: Question, value: Mapping[str, Any]) -> int | str:
    chosen = _texts(value, "choices")
    if len(chosen) != 1:
        raise _Malformed(f"{len(chosen)} choices; needed: 1")
    if question.kind == PREFERENCE:
        return chosen[0]
    if question.kind == ORIGIN and chosen[0] in ORIGIN_ANSWERS:
        return ORIGIN_ANSWERS.index(chosen[0]) + 1
    try:
        return int(chosen[0])
    except ValueError:
        raise _Malformed(f"{chosen[0]!r} is not an answer to {question.name!r}") from None


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    found = value.get(key)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _Malformed(f"{key} is {found!r}; needed: texts")
    return texts


def moment(text: object) -> dt.datetime | None:
    """Read the server's time; None when it is none. A time without a zone is UTC."""
    if isinstance(text, dt.datetime):
        return text if text.tzinfo else text.replace(tzinfo=dt.UTC)
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _user_id(found: object) -> int | None:
    """Read who made it: the server writes a number, or a whole user."""
    if isinstance(found, Mapping):
        found = found.get("id")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _source_uid(annotation: Mapping[str, Any]) -> str:
    """Return what stays the same when the answer is edited and is never given twice.

    Lists of tasks leave out the server's own unique_id; its numbers alone are given again.
    """
    uid = annotation.get("unique_id")
    made = f"{annotation.get('id')}@{annotation.get('created_at')}"
    return uid if isinstance(uid, str) and uid else made


# What of a task or an annotation is worth keeping; the rest changes from answer to answer, and a
# changed content would be another row.
_KEPT = (
    "id",
    "unique_id",
    "created_at",
    "result",
    "was_cancelled",
    "completed_by",
    "lead_time",
    "updated_at",
    "data",
    "annotation",
)


def _unreadable(source_uid: str, reason: str, content: Mapping[str, Any]) -> Unreadable:
    kept = {key: content[key] for key in _KEPT if key in content}
    if "completed_by" in kept:
        kept["completed_by"] = _user_id(kept["completed_by"])
    return Unreadable(source_uid=source_uid, reason=reason, content=_jsonable(kept))


def _jsonable(value: Any) -> Any:
    """Return what JSON and both databases can keep: no NaN, no infinity, no zero bytes."""
    if isinstance(value, Mapping):
        return {str(_jsonable(str(key))): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\x00", "\\0")
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)
