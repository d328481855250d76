"""Raters that are networks with a bias: for trying the loop, never for a claim about images.

Shapes: B images.
"""

import datetime as dt
import json
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol, runtime_checkable

from torch import Tensor

from annotation.base import (
    ORIGIN,
    PREFERENCE,
    PREFERENCES,
    Answer,
    Health,
    Pulled,
    Question,
    RaterProfile,
    Study,
    Task,
)
from annotation.config import SimulatedRaterConfig
from annotation.errors import AnnotationError

TIE_WIDTH = 0.25  # grades
IMAGES_A_PULL = 64  # whose answers come together: a killed simulation loses at most these

# name of a task's picture -> its latent quality, or that of each question; NaN: nobody can tell
Truths = Mapping[str, float | Mapping[str, float]]
Look = Callable[[Sequence[Task]], Sequence[Truths]]


class Eyes(Protocol):
    """What simulated raters look through: pixels and prompt to a latent quality."""

    @property
    def identity(self) -> str:
        """Which eyes these are, for ever: the hash of a network's weights, or a function's name."""
        ...

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Where one grade ends and the next begins, ascending, frozen on real images."""
        ...

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        """Return the latent quality [B], higher is better, of images [B, 3, H, W] in [0, 1]."""
        ...


@runtime_checkable
class GradesCriteria(Protocol):
    """The capability of eyes that see each criterion on its own."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """Return their names, as the rubric has them; none: one quality for all."""
        ...

    def grades(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Mapping[str, Tensor]:
        """Return each criterion's quality [B] in grades, a 2 from 0 on and a 3 from 1 on.

        NaN: it cannot be told, and is left blank.
        """
        ...


class SimulatedRater:
    """Grades a latent quality with severity, noise and lapses of its own."""

    def __init__(self, config: SimulatedRaterConfig) -> None:
        self.config = config

    def profile(self) -> RaterProfile:
        """Return how this rater stands in the tables: marked as simulated."""
        return RaterProfile(
            name=self.config.name,
            expert_level=self.config.expert_level,
            simulated=True,
            config=self.config.to_json(),
        )

    def rate(
        self,
        truth_B: Sequence[float],
        thresholds: Sequence[float],
        occasions: Sequence[str],
        *,
        min_value: int = 1,
    ) -> list[int]:
        """Return one grade an image, from `min_value` up, one grade more than there are thresholds.

        An occasion names one look at one image ("image/first look"). Noise depends on rater and
        occasion only: neither order nor neighbours change a grade, a second look is a fresh one.
        """
        grades = []
        for truth, occasion in zip(truth_B, occasions, strict=True):
            chance = random.Random(f"{self.config.name}/{self.config.seed}/{occasion}")
            if chance.random() < self.config.lapse:
                grades.append(min_value + chance.randint(0, len(thresholds)))
                continue
            shift = chance.gauss(-self.config.severity, self.config.noise)
            seen = truth + shift * _grade_width(thresholds)
            grades.append(min_value + bisect_right(thresholds, seen))
        return grades

    def compare(
        self,
        pairs: Sequence[tuple[float, float]],
        thresholds: Sequence[float],
        occasions: Sequence[str],
    ) -> list[str]:
        """Return which of left and right is preferred, by the truths of both; or "tie".

        Each side is looked at with the noise of one look. A difference of less than a quarter of a
        grade is a tie.
        """
        preferred = []
        for (left, right), occasion in zip(pairs, occasions, strict=True):
            chance = random.Random(f"{self.config.name}/{self.config.seed}/{occasion}/pair")
            if chance.random() < self.config.lapse:
                preferred.append(chance.choice(PREFERENCES))
                continue
            noise = chance.gauss(0, self.config.noise) - chance.gauss(0, self.config.noise)
            difference = (left - right) / _grade_width(thresholds) + noise
            better = "left" if difference > 0 else "right"
            preferred.append("tie" if abs(difference) < TIE_WIDTH else better)
        return preferred


class SimulatedBackend:
    """Simulated raters as a place where people rate: the pull has them answer what was pushed.

    A study's `raters` are known by their habits, as JSON. Nothing is kept from one process to the
    next: push what is still open, then pull.
    """

    def __init__(self, thresholds: Sequence[float], look: Look) -> None:
        """`look(tasks)` is what the raters' eyes see; `thresholds` end their grades."""
        self._thresholds, self._look = thresholds, look
        self._tasks: dict[str, dict[str, Task]] = {}  # by study and by task

    def push(self, study: Study, tasks: Sequence[Task]) -> int:
        """Note what to answer; tasks that show the same follow one another."""
        if any(question.kind == ORIGIN for question in study.questions):
            raise AnnotationError(
                "Simulated raters cannot tell real from synthetic. Ask people, or remove "
                "ask_origin from the rubric."
            )
        known = self._tasks.setdefault(study.uid, {})
        num_known = len(known)
        known.update((task.uid, task) for task in tasks)
        return len(known) - num_known

    def pull(self, study: Study, marks: Mapping[str, dt.datetime]) -> Iterator[Pulled]:
        """Yield the answers to some images after the other, each image looked at once."""
        raters = {
            name: SimulatedRater(SimulatedRaterConfig.from_json(json.loads(habits)))
            for name, habits in study.raters.items()
        }
        tasks = self._tasks.get(study.uid, {}).values()
        images = [list(own) for _, own in groupby(tasks, key=lambda task: task.pictures)]
        for start in range(0, len(images), IMAGES_A_PULL):
            some = images[start : start + IMAGES_A_PULL]
            seen = self._look([own[0] for own in some])
            answers = tuple(
                Answer(
                    task_uid=task.uid,
                    rater=task.rater,
                    criterion=question.name,
                    value=self._value(study, question, raters[task.rater], task, own_truths),
                    source_uid=f"simulated/{task.uid}",
                )
                for own, truths in zip(some, seen, strict=True)
                for task in own
                for question in study.questions
                for own_truths in [_of_question(truths, question)]
                if not any(math.isnan(truth) for truth in own_truths.values())  # left blank
            )
            yield Pulled(place="simulated", answers=answers, unreadable=(), mark=None)

    def rating_pages(self, study: Study) -> dict[str, str]:
        """Return none: nobody is to go anywhere."""
        return {}

    def health(self) -> Health:
        """Return that they are there."""
        return Health(is_up=True, message="simulated raters are always there")

    def _value(
        self,
        study: Study,
        question: Question,
        rater: SimulatedRater,
        task: Task,
        truths: Mapping[str, float],
    ) -> int | str:
        """Each question after the first is a look of its own: noise on one is not noise on all."""
        sides = [name for name in ("left", "right") if name in task.pictures]
        asked = [] if question is study.questions[0] else [question.name]
        shown = [task.pictures[name] for name in sides]
        occasion = "/".join([study.name, *shown, str(task.look), *asked])
        if question.kind == PREFERENCE:
            pair = truths["left"], truths["right"]
            return rater.compare([pair], self._thresholds, [occasion])[0]
        (value,) = rater.rate(
            [truths["left"]], self._thresholds, [occasion], min_value=question.min_value
        )
        return value


def _of_question(truths: Truths, question: Question) -> dict[str, float]:
    """Return each picture's quality as this question asks for it."""
    return {
        name: truth[question.name] if isinstance(truth, Mapping) else truth
        for name, truth in truths.items()
    }


def _grade_width(thresholds: Sequence[float]) -> float:
    if len(thresholds) == 1:
        return 1.0  # two grades have no middle one: the truth's own unit
    return (thresholds[-1] - thresholds[0]) / (len(thresholds) - 1)
