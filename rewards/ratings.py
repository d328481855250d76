"""Rated images as tensors: what a reward model is fitted to.

Shapes: N rated images, R ratings, D image features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Chosen = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RatedImages:
    """What a reward model is fitted to."""

    features_ND: Tensor  # of the backbone
    modalities: Sequence[str]  # [N]
    texts: Sequence[str]  # [N]
    prompts: Sequence[str]  # [N], equal for images of one prompt
    image_R: Tensor  # which image was rated: 0 .. N - 1
    grade_R: Tensor  # 0 (worst) .. top
    raters: Sequence[str]  # [R]
    weight_R: Tensor  # of each rating in the loss
    values: Sequence[int] = (1, 2, 3)  # what the grades are called, worst first

    def of_images(self, chosen_N: Chosen) -> Tensor:
        """Return the positions of the ratings of the chosen images."""
        return torch.from_numpy(chosen_N)[self.image_R].nonzero().flatten()
