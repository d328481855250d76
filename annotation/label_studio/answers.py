"""One task as Label Studio reports it -> answers, and what cannot be read with the reason.

The server checks nothing that its page or a script sends: unknown questions, values off the scale
and other people's names all arrive. Every task is stated whole: for each question of the study one
answer, None where there is no verdict (any more).
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping
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
    unreadable: list[Unreadable] = []
    own = []
    for annotation in _annotations(task, unreadable):
        author = _user_id(annotation.get("completed_by"))
        # the Community edition lets others write in somebody's name, but tells who did
        writer = _user_id(annotation.get("updated_by", author))
        if author is None or author != user_id:
            reason = f"made by user {author}, but the task is {rater}'s (user {user_id})"
            unreadable.append(_unreadable(_source_uid(annotation), reason, annotation))
        elif writer not in (None, user_id):
            reason = f"last written by user {writer} in the name of {rater} (user {user_id})"
            unreadable.append(_unreadable(_source_uid(annotation), reason, annotation))
        elif moment(annotation.get("updated_at")) is None:
            unreadable.append(_unreadable(_source_uid(annotation), "no updated_at", annotation))
        else:
            own.append(annotation)
    own.sort(key=lambda annotation: moment(annotation["updated_at"]) or dt.datetime.min)
    for annotation in own[:-1]:
        reason = "a later annotation of the same task counts instead"
        unreadable.append(_unreadable(_source_uid(annotation), reason, annotation))
    if not own and unreadable:
        return [], unreadable  # who can tell whether the rater withdrew anything
    if not own:
        return [_withdrawn(question, uid, rater, task) for question in study.questions], unreadable
    answers, faults = _read_annotation(study, rater, uid, own[-1])
    return answers, unreadable + faults


def _annotations(
    task: Mapping[str, Any], unreadable: list[Unreadable]
) -> Iterable[Mapping[str, Any]]:
    annotations = task.get("annotations")
    if not isinstance(annotations, list):
        unreadable.append(_unreadable(f"task-{task.get('id')}", "no list of annotations", task))
        return
    for annotation in annotations:
        if isinstance(annotation, Mapping):
            yield annotation
        else:
            content = {"annotation": annotation}
            unreadable.append(_unreadable(f"task-{task.get('id')}", "no annotation", content))


def _read_annotation(
    study: Study, rater: str, uid: str, annotation: Mapping[str, Any]
) -> tuple[list[Answer], list[Unreadable]]:
    source_uid = _source_uid(annotation)
    if annotation.get("was_cancelled"):
        said, faults = _Statement(reasons=(SKIPPED,)), list[Unreadable]()
    else:
        said, faults = _statement(study, source_uid, annotation)
    answers = [
        Answer(
            task_uid=uid,
            rater=rater,
            criterion=question.name,
            value=said.values.get(question.name),
            source_uid=source_uid,
            rated_at=moment(annotation["updated_at"]),
            lead_time_s=_lead_time(annotation.get("lead_time")),
            reasons=said.reasons,
            comment=said.comment,
        )
        for question in study.questions
        if question.name not in said.faulty  # the last readable verdict stays
    ]
    return answers, faults


def _statement(
    study: Study, source_uid: str, annotation: Mapping[str, Any]
) -> tuple[_Statement, list[Unreadable]]:
    said, faults = _Statement(), list[Unreadable]()
    items = annotation.get("result")
    if not isinstance(items, list):
        said.faulty = {question.name for question in study.questions}
        return said, [_unreadable(source_uid, "no list of results", annotation)]
    questions = {VERDICT + question.name: question for question in study.questions}
    for item in items:
        try:
            _take(questions, said, item)
        except _Malformed as fault:
            name = item.get("from_name") if isinstance(item, Mapping) else None
            if isinstance(name, str) and name in questions:
                said.faulty.add(questions[name].name)
            content = {**_without_result(annotation), "result": [item]}
            faults.append(_unreadable(source_uid, str(fault), content))
    return said, faults


def _take(questions: Mapping[str, Question], said: _Statement, item: Any) -> None:
    if not isinstance(item, Mapping) or not isinstance(item.get("value"), Mapping):
        raise _Malformed("a result that is no object with a value")
    name, value = item.get("from_name"), item["value"]
    if isinstance(name, str) and name in questions:
        (chosen,) = _texts(value, "choices", exactly=1)
        said.values[questions[name].name] = _verdict(questions[name], chosen)
    elif name == REASONS:
        said.reasons = tuple(sorted(_texts(value, "choices")))
    elif name == COMMENT:
        said.comment = "\n".join(_texts(value, "text"))
    else:
        raise _Malformed(f"no question {name!r}; known: {', '.join(sorted(questions))}")


def _texts(value: Mapping[str, Any], key: str, *, exactly: int | None = None) -> list[str]:
    found = value.get(key)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _Malformed(f"{key} is {found!r}; needed: texts")
    if exactly is not None and len(texts) != exactly:
        raise _Malformed(f"{len(texts)} {key}; needed: {exactly}")
    return texts


def _verdict(question: Question, chosen: str) -> int | str:
    if question.kind == PREFERENCE:
        return chosen
    if question.kind == ORIGIN and chosen in ORIGIN_ANSWERS:
        return ORIGIN_ANSWERS.index(chosen) + 1
    try:
        return int(chosen)
    except ValueError:
        raise _Malformed(f"{chosen!r} is no answer to {question.name!r}") from None


def _withdrawn(question: Question, uid: str, rater: str, task: Mapping[str, Any]) -> Answer:
    return Answer(
        task_uid=uid,
        rater=rater,
        criterion=question.name,
        value=None,
        source_uid=f"none/{uid}",
        rated_at=moment(task.get("updated_at")),
        asked_at=moment(task.get("created_at")),
    )


def moment(text: object) -> dt.datetime | None:
    """Read the server's time; None when it is none. A time without a zone is UTC."""
    if isinstance(text, dt.datetime):
        return text if text.tzinfo else text.replace(tzinfo=dt.UTC)
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _lead_time(found: object) -> float | None:
    """Return the browser's claim in seconds, where it is a number that time can be."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if math.isfinite(found) and found >= 0 else None


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


def _unreadable(source_uid: str, reason: str, content: Mapping[str, Any]) -> Unreadable:
    return Unreadable(source_uid=source_uid, reason=reason, content=_plain(content))


# What of an annotation is worth keeping; the rest changes from answer to answer, and a changed
# content would be another row.
_KEPT = (
    "id",
    "unique_id",
    "created_at",
    "result",
    "was_cancelled",
    "completed_by",
    "lead_time",
    "updated_at",
)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: content[key] for key in (*_KEPT, "data", "annotation") if key in content}
    author = _user_id(kept.get("completed_by"))
    if "completed_by" in kept:
        kept["completed_by"] = author
    plain: dict[str, Any] = _jsonable(kept)
    return plain


def _without_result(annotation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in annotation.items() if key != "result"}


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
