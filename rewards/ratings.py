"""Rated images as tensors: what a reward model is fitted to.

Shapes: N rated images, R ratings, C comparisons, S references, D image features, J raters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewards.conditioning import ConditioningFeatures

Chosen = NDArray[np.bool_]


def _none() -> Tensor:
    return torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Which of two images is better; empty unless people were shown pairs."""

    left_C: Tensor = field(default_factory=_none)  # which image: 0 .. N - 1
    right_C: Tensor = field(default_factory=_none)
    preference_C: Tensor = field(default_factory=lambda: torch.zeros(0))  # 1 left, 0.5 tie, 0 right
    raters: Sequence[str] = ()  # [C]
    weight_C: Tensor = field(default_factory=lambda: torch.zeros(0))  # of each in the loss
    criterion_C: Tensor = field(default_factory=_none)  # place in `RatedImages.criteria`


@dataclass(frozen=True, kw_only=True)
class References:
    """Images that show what their captions say, real ones as a rule; nobody needs to rate them.

    From them, too, a reward model learns to see that an image shows another finding than was asked
    for. None may be of a patient of a rated image: it would leak into the cross-validation.
    """

    features_SD: Tensor = field(default_factory=lambda: torch.zeros(0, 0))  # of the backbone
    modalities: Sequence[str] = ()  # [S]
    texts: Sequence[str] = ()  # [S]

    def of_modalities(self, wanted: Sequence[str]) -> "References":
        """Return those of some modalities."""
        places = [place for place, name in enumerate(self.modalities) if name in wanted]
        return References(
            features_SD=self.features_SD[places],
            modalities=[self.modalities[place] for place in places],
            texts=[self.texts[place] for place in places],
        )


@dataclass(frozen=True, kw_only=True)
class RatedImages:
    """What a reward model is fitted to. An image need not be rated on every criterion."""

    features_ND: Tensor  # of the backbone
    modalities: Sequence[str]  # [N]
    texts: Sequence[str]  # [N]
    prompts: Sequence[str]  # [N], equal for images of one prompt
    image_R: Tensor  # which image was rated: 0 .. N - 1
    grade_R: Tensor  # 0 (worst) .. top
    raters: Sequence[str]  # [R]
    weight_R: Tensor  # of each rating in the loss
    values: Sequence[int] = (1, 2, 3)  # what the grades are called, worst first
    criteria: Sequence[str] = ("quality",)  # the questions asked, on one scale
    criterion_R: Tensor | None = None  # place in `criteria`; None: all answer the first
    comparisons: Comparisons = field(default_factory=Comparisons)
    patients: Sequence[str | None] = ()  # [N] where known: a real image's, or its source's
    labels: Sequence[str | None] = ()  # [N] what the prompts ask for, for the fairness table
    references: References = field(default_factory=References)
    given: Sequence[
        ConditioningFeatures
    ] = ()  # [N] beside the words of the prompts; none: nothing was

    def of_images(self, chosen_N: Chosen) -> Tensor:
        """Return the positions of the ratings of the chosen images."""
        return torch.from_numpy(chosen_N)[self.image_R].nonzero().flatten()

    def answers(self, criterion: int, chosen_N: Tensor, raters: Sequence[str]) -> "Answers":
        """Return what was said of the chosen images (bool) on one criterion, raters as places."""
        place = {name: number for number, name in enumerate(raters)}
        asked_R = chosen_N[self.image_R]
        if self.criterion_R is not None:
            asked_R = asked_R & (self.criterion_R == criterion)
        pairs = self.comparisons
        asked_C = chosen_N[pairs.left_C] & chosen_N[pairs.right_C]
        asked_C &= pairs.criterion_C == criterion
        rater_R = torch.tensor([place[name] for name in self.raters], dtype=torch.long)
        rater_C = torch.tensor([place[name] for name in pairs.raters], dtype=torch.long)
        return Answers(
            self.image_R[asked_R],
            self.grade_R[asked_R],
            rater_R[asked_R],
            self.weight_R[asked_R].double(),
            pairs.left_C[asked_C],
            pairs.right_C[asked_C],
            pairs.preference_C[asked_C].double(),
            rater_C[asked_C],
            pairs.weight_C[asked_C].double(),
        )

    def not_the_worst(self) -> Tensor:
        """Return which images [N], bool, are not rated worst on average, or not rated at all."""
        total_N = torch.zeros(len(self.prompts)).index_add(0, self.image_R, self.grade_R.float())
        num_N = torch.zeros(len(self.prompts)).index_add(
            0, self.image_R, torch.ones(len(self.image_R))
        )
        return (num_N == 0) | (total_N / num_N.clamp(min=1) >= 0.5)

    def all_raters(self) -> list[str]:
        """Return everybody who rated or compared, by name."""
        return sorted({*self.raters, *self.comparisons.raters})


@dataclass(frozen=True)
class Answers:
    """Ratings and comparisons of one criterion; weights are float64."""

    image_R: Tensor
    grade_R: Tensor
    rater_R: Tensor
    weight_R: Tensor
    left_C: Tensor
    right_C: Tensor
    preference_C: Tensor
    rater_C: Tensor
    weight_C: Tensor
