"""Raters that are networks with a bias: for trying the loop, never for a claim about images.

Shapes: B images.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from annotation.base import PREFERENCES, RaterProfile
from annotation.config import SimulatedRaterConfig

TIE_WIDTH = 0.25  # grades


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


def _grade_width(thresholds: Sequence[float]) -> float:
    if len(thresholds) == 1:
        return 1.0  # two grades have no middle one: the truth's own unit
    return (thresholds[-1] - thresholds[0]) / (len(thresholds) - 1)
