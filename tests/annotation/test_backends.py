"""Every place where people rate keeps the protocol's promises: simulated raters and files here.

Label Studio's are kept against a server, in tests/annotation/label_studio.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from annotation.base import ORIGIN, PREFERENCE, Question, RatingBackend, Study, Task
from annotation.config import SimulatedRaterConfig, default_raters
from annotation.csv_file import CsvBackend, RatingLine
from annotation.errors import AnnotationError
from annotation.simulated import SimulatedBackend, SimulatedRater, Truths

THRESHOLDS = (0.4, 0.6)
TRUTHS = {"dark": 0.1, "grey": 0.5, "light": 0.9}
QUALITY = Question(name="quality", text="Good?", min_value=1, max_value=3)
CONFIGS = {config.name: config for config in default_raters(2)}
STUDY = Study(
    uid="7",
    name="first",
    instructions="",
    questions=(QUALITY,),
    raters={name: json.dumps(config.to_json()) for name, config in CONFIGS.items()},
)
TASKS = [
    Task(
        uid=f"{rater}/{picture}/{look}",
        rater=rater,
        position=place,
        look=look,
        pictures={"left": picture},
        modality="OCT",
        text="normal",
    )
    for picture in TRUTHS
    for rater in CONFIGS
    for place, look in enumerate((0, 1))
]


def look(tasks: Sequence[Task]) -> list[Truths]:
    return [{name: TRUTHS[file] for name, file in task.pictures.items()} for task in tasks]


def simulated() -> RatingBackend:
    return SimulatedBackend(THRESHOLDS, look)


def in_a_file() -> RatingBackend:
    lines = {
        task.uid: [
            RatingLine(image_path=task.pictures["left"], rating=2, rater=task.rater, line=number)
        ]
        for number, task in enumerate(TASKS, 2)
    }
    return CsvBackend("ratings.csv", lines)


@pytest.mark.parametrize("make", [simulated, in_a_file])
def test_pushed_twice_and_pulled_twice_says_the_same_of_what_was_asked(make: object) -> None:
    backend: RatingBackend = make()  # type: ignore[operator]
    assert [pulled.answers for pulled in backend.pull(STUDY, {}) if pulled.answers] == []
    assert backend.push(STUDY, TASKS[:4]) == 4
    assert backend.push(STUDY, TASKS[:5]) == 1
    first, again = ([p.answers for p in backend.pull(STUDY, {})] for _ in range(2))
    assert first == again
    assert {answer.task_uid for answers in first for answer in answers} == {
        task.uid for task in TASKS[:5]
    }
    assert {answer.criterion for answers in first for answer in answers} == {"quality"}
    assert backend.health().is_up and backend.rating_pages(STUDY) == {}


def test_a_simulated_rater_grades_as_its_habits_say_and_a_second_look_is_a_fresh_one() -> None:
    backend = simulated()
    backend.push(STUDY, TASKS)
    (pulled,) = backend.pull(STUDY, {})
    for task, answer in zip(TASKS, pulled.answers, strict=True):
        picture = task.pictures["left"]
        occasion = f"first/{picture}/{task.look}"
        rater = SimulatedRater(CONFIGS[task.rater])
        (expected,) = rater.rate([TRUTHS[picture]], THRESHOLDS, [occasion])
        assert (answer.task_uid, answer.value) == (task.uid, expected)


def test_pairs_are_compared_and_each_question_is_a_look_of_its_own() -> None:
    better = Question(name="better", text="?", min_value=1, max_value=3, kind=PREFERENCE)
    many = [f"q{number}" for number in range(30)]
    pairs = Study(uid="8", name="n", instructions="", questions=(better,), raters=STUDY.raters)
    sides = {"left": "light", "right": "dark"}
    rater = next(iter(CONFIGS))
    task = Task(uid="t", rater=rater, position=0, pictures=sides, modality="OCT", text="")
    backend = simulated()
    backend.push(pairs, [task])
    assert [answer.value for p in backend.pull(pairs, {}) for answer in p.answers] == ["left"]

    asked = tuple(Question(name=name, text="?", min_value=1, max_value=3) for name in many)
    study = Study(uid="9", name="n", instructions="", questions=asked, raters=STUDY.raters)
    backend.push(study, [Task(**{**vars(task), "pictures": {"left": "grey"}})])
    values = [answer.value for p in backend.pull(study, {}) for answer in p.answers]
    assert len(values) == 30 and len(set(values)) > 1  # not one draw of noise for all


def test_each_criterion_has_its_own_quality_and_what_cannot_be_told_is_left_blank() -> None:
    asked = tuple(
        Question(name=name, text="?", min_value=1, max_value=3) for name in ("real", "asked")
    )
    calm = SimulatedRaterConfig(name="calm", lapse=0.0).to_json()
    raters = {"calm": json.dumps(calm)}
    study = Study(uid="2", name="n", instructions="", questions=asked, raters=raters)
    seen = {"light": {"real": 9.0, "asked": -9.0}, "dark": {"real": -9.0, "asked": math.nan}}
    backend = SimulatedBackend(
        (0.0, 1.0), lambda tasks: [{"left": seen[task.pictures["left"]]} for task in tasks]
    )
    tasks = [replace(task, rater="calm") for task in TASKS if task.pictures["left"] in seen]
    backend.push(study, tasks)
    picture_of = {task.uid: task.pictures["left"] for task in tasks}
    said: dict[tuple[str, str], set[object]] = {}
    for pulled in backend.pull(study, {}):
        for answer in pulled.answers:
            key = picture_of[answer.task_uid], answer.criterion
            said.setdefault(key, set()).add(answer.value)
    assert said == {("light", "real"): {3}, ("light", "asked"): {1}, ("dark", "real"): {1}}


def test_simulated_raters_are_not_asked_what_they_cannot_see() -> None:
    origin = Question(name="origin", text="Real?", min_value=1, max_value=3, kind=ORIGIN)
    study = Study(uid="7", name="n", instructions="", questions=(origin,), raters=STUDY.raters)
    with pytest.raises(AnnotationError, match="cannot tell real from synthetic"):
        simulated().push(study, TASKS)
