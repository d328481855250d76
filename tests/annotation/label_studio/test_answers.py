from typing import Any

import pytest

from annotation.base import ORIGIN, PREFERENCE, SKIPPED, Question, Study
from annotation.label_studio.answers import read_task

QUALITY = Question(name="quality", text="Good?", min_value=1, max_value=3)
LOOKS = Question(name="origin", text="Real?", min_value=1, max_value=3, kind=ORIGIN)
STUDY = Study(
    name="first", uid="s", instructions="", questions=(QUALITY, LOOKS), raters={"ann": "a@b.c"}
)
BETTER = Question(name="quality", text="Better?", min_value=1, max_value=3, kind=PREFERENCE)
PAIRS = Study(
    name="first", uid="s", instructions="", questions=(BETTER,), pictures=("left", "right")
)
ANN = 2


def chosen(name: str, *aliases: str) -> dict[str, Any]:
    return {"from_name": name, "type": "choices", "value": {"choices": list(aliases)}}


def annotation(*items: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "completed_by": ANN,
        "created_at": "2026-01-05T08:00:00.1Z",
        "updated_at": "2026-01-05T08:00:09.2Z",
        "lead_time": 4.5,
        "result": list(items),
    } | fields


def task(*annotations: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "data": {"uid": "task"},
        "created_at": "2026-01-05T07:00:00Z",
        "updated_at": "2026-01-05T08:00:10Z",
        "annotations": list(annotations),
    } | fields


def values(answers: Any) -> dict[str, Any]:
    return {answer.criterion: answer.value for answer in answers}


def test_a_whole_answer_is_read_with_its_reasons_comment_and_time() -> None:
    said = annotation(
        chosen("verdict-quality", "3"),
        chosen("verdict-origin", "unsure"),
        chosen("reasons", "grain", "blur"),
        {"from_name": "comment", "type": "textarea", "value": {"text": ["odd edge"]}},
    )
    answers, faults = read_task(STUDY, "ann", ANN, task(said))
    assert faults == []
    assert values(answers) == {"quality": 3, "origin": 3}
    assert answers[0].reasons == ("blur", "grain")
    assert (answers[0].comment, answers[0].lead_time_s) == ("odd edge", 4.5)
    assert answers[0].rated_at is not None and answers[0].rated_at.second == 9
    assert answers[0].source_uid == "7@2026-01-05T08:00:00.1Z"


def test_a_pair_gives_a_side() -> None:
    answers, faults = read_task(
        PAIRS, "ann", ANN, task(annotation(chosen("verdict-quality", "tie")))
    )
    assert (values(answers), faults) == ({"quality": "tie"}, [])


def test_a_task_without_an_annotation_states_that_nothing_is_said() -> None:
    answers, faults = read_task(STUDY, "ann", ANN, task())
    assert (values(answers), faults) == ({"quality": None, "origin": None}, [])
    assert answers[0].asked_at is not None


def test_a_skipped_task_says_so() -> None:
    answers, _ = read_task(STUDY, "ann", ANN, task(annotation(was_cancelled=True)))
    assert {answer.value for answer in answers} == {None}
    assert {answer.reasons for answer in answers} == {(SKIPPED,)}


def test_of_two_annotations_the_newer_counts_and_the_other_is_kept_aside() -> None:
    older = annotation(chosen("verdict-quality", "1"), id=6, updated_at="2026-01-05T08:00:01Z")
    newer = annotation(chosen("verdict-quality", "2"))
    answers, faults = read_task(STUDY, "ann", ANN, task(newer, older))
    assert values(answers)["quality"] == 2
    assert [fault.content["id"] for fault in faults] == [6]


@pytest.mark.parametrize("author", [9, None, "2", {"id": 9}, True])
def test_what_another_user_says_is_refused_and_withdraws_nothing(author: object) -> None:
    said = annotation(chosen("verdict-quality", "3"), completed_by=author)
    answers, faults = read_task(STUDY, "ann", ANN, task(said))
    assert answers == []
    assert "but the task is ann's" in faults[0].reason


@pytest.mark.parametrize("fields", [{"updated_by": 9}, {"updated_by": {"id": 9}}])
def test_what_another_user_wrote_in_the_raters_name_is_refused(fields: dict[str, Any]) -> None:
    said = annotation(chosen("verdict-quality", "3"), **fields)
    answers, faults = read_task(STUDY, "ann", ANN, task(said))
    assert answers == []
    assert faults[0].reason == "last written by user 9 in the name of ann (user 2)"
    own = annotation(chosen("verdict-quality", "3"), updated_by=ANN)
    assert values(read_task(STUDY, "ann", ANN, task(own))[0])["quality"] == 3


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (chosen("verdict-beauty", "3"), "no question 'verdict-beauty'"),
        (chosen("verdict-quality", "very"), "'very' is not an answer to 'quality'"),
        (chosen("verdict-quality", "1", "2"), "2 choices; needed: 1"),
        (chosen("verdict-quality"), "0 choices; needed: 1"),
        ({"from_name": "verdict-quality", "value": {"rating": 3}}, "choices is None"),
        ({"from_name": "verdict-quality", "value": 3}, "not an object with a value"),
        ("text", "not an object with a value"),
        (None, "not an object with a value"),
        ({"from_name": ["x"], "value": {}}, "no question"),
        ({"from_name": "reasons", "value": {"choices": [1]}}, "needed: texts"),
    ],
)
def test_a_part_that_cannot_be_read_is_kept_aside_and_the_rest_counts(
    item: object, reason: str
) -> None:
    said = annotation(item, chosen("verdict-origin", "real"))
    answers, faults = read_task(STUDY, "ann", ANN, task(said))
    assert values(answers)["origin"] == 1
    assert reason in faults[0].reason
    assert faults[0].content["result"] == [item]


def test_an_unreadable_verdict_leaves_the_last_readable_one_alone() -> None:
    answers, _ = read_task(STUDY, "ann", ANN, task(annotation(chosen("verdict-quality", "x"))))
    assert "quality" not in values(answers)


@pytest.mark.parametrize(
    "broken",
    [
        task(data=None),
        task(data={"uid": 3}),
        task(annotations=None),
        task(annotations="3"),
        task(7, None, "x"),
        task(annotation(result="x")),
        task(annotation(result={"a": 1})),
        task(annotation(updated_at="yesterday")),
        task(annotation(updated_at=None)),
        {},
    ],
)
def test_nothing_that_arrives_ends_the_reading(broken: dict[str, Any]) -> None:
    _, faults = read_task(STUDY, "ann", ANN, broken)
    assert faults


@pytest.mark.parametrize("claimed", [None, "5", -1, float("nan"), float("inf"), True])
def test_a_time_that_cannot_be_is_no_time(claimed: object) -> None:
    said = annotation(chosen("verdict-quality", "3"), lead_time=claimed)
    answers, _ = read_task(STUDY, "ann", ANN, task(said))
    assert answers[0].lead_time_s is None


def test_what_is_kept_aside_can_be_stored_as_json() -> None:
    said = annotation({"from_name": "x\x00y", "value": {"n": float("nan")}}, lead_time=float("inf"))
    _, faults = read_task(STUDY, "ann", ANN, task(said))
    assert faults[0].content["lead_time"] == "inf"
    assert faults[0].content["result"] == [{"from_name": "x\\0y", "value": {"n": "nan"}}]
