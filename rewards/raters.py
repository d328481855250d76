"""What a fit found of every rater. Shapes: J raters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rewards.likelihood import Scale
from rewards.ratings import RatedImages


@dataclass(frozen=True)
class RaterHabits:
    """One rater on one criterion, against the study's usual rater; few answers: near the usual."""

    rater: str
    criterion: str
    num_answers: int  # ratings and comparisons
    severity: float  # above 0: stricter; in distances between two thresholds
    reliability: float  # 1 = usual; below, grades are parted less sharply
    lapses: float  # share of answers that are random, 0 .. 1


def habits_of(rated: RatedImages, scales: Sequence[Scale]) -> tuple[RaterHabits, ...]:
    """Return every rater's habits on every criterion, by rater."""
    names = rated.all_raters()
    everything = torch.ones(len(rated.prompts), dtype=torch.bool)
    found = []
    for criterion, scale in enumerate(scales):
        answers = rated.answers(criterion, everything, names)
        steps = scale.thresholds_K.diff()
        width = float(steps.mean()) if len(steps) else 1.0  # two grades: the latent's own unit
        shift = float(scale.severity_J.mean())
        for place, name in enumerate(names):
            num = int((answers.rater_R == place).sum() + (answers.rater_C == place).sum())
            habits = RaterHabits(
                rater=name,
                criterion=rated.criteria[criterion],
                num_answers=num,
                severity=(float(scale.severity_J[place]) - shift) / width,
                reliability=float(scale.reliability_J[place]),
                lapses=float(scale.lapse_J[place]),
            )
            found.append(habits)
    return tuple(sorted(found, key=lambda each: (each.rater, each.criterion)))
