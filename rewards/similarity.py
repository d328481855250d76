"""How alike two images with their prompts are, and the coordinates that follow from it.

Similarity is what a Gaussian process knows of pairs; images unlike every rated one get coordinates
near 0, and that is how it notices what it does not know. Differentiable down to the features.
Shapes: B images, L landmarks (rated images), D features, P prompt features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rewards.conditioning import OWN

JITTER = 1e-3  # of the prior variance: equal images must not make the landmarks singular


@dataclass(frozen=True)
class Kernel:
    """What makes similar. A pair is similar to itself by `variance`."""

    num_modalities: int  # the first prompt features
    reach: float  # of an image, in typical distances between two rated images
    scale: float  # standard deviation of the latent quality, logits
    shared: float = 1.5  # of what an image shows counts whatever the prompt
    text: float = 0.2  # ... only with prompts of like words
    habit: float = 0.2  # of a modality's and of a text's own level

    @property
    def variance(self) -> float:
        """Return the prior variance of the latent quality."""
        return self.scale**2

    def images(self, features_BD: Tensor, others_LD: Tensor) -> Tensor:
        """Return the likeness [B, L] of images alone, 0 .. 1; features are standardised."""
        products_BL = features_BD @ others_LD.T
        squares_BL = features_BD.square().sum(1)[:, None] + others_LD.square().sum(1)
        distance_BL = (squares_BL - 2 * products_BL).clamp(min=0) / features_BD.shape[1]
        return torch.exp(-distance_BL / (2 * self.reach**2))

    def pairs(
        self,
        images_BL: Tensor,
        prompts_BP: Tensor,
        others_LP: Tensor,
        given_BL: Tensor | None = None,
    ) -> Tensor:
        """Return the likeness [B, L] of images with their prompts, in prior variances.

        `given_BL` is how alike the other things are that the prompts give, 1 where there are none.
        """
        count = self.num_modalities
        modality_BL = prompts_BP[:, :count] @ others_LP[:, :count].T
        text_BL = modality_BL * (prompts_BP[:, count:] @ others_LP[:, count:].T)
        shown_BL = images_BL * (self.shared + modality_BL + self.text * text_BL)
        asked_BL = self.habit * (modality_BL + text_BL)
        whole = self.shared + 1 + self.text + 2 * self.habit
        likeness_BL = self.variance * (shown_BL + asked_BL) / whole
        return likeness_BL if given_BL is None else likeness_BL * (1 - OWN + OWN * given_BL)


def whitener(likeness_LL: Tensor, variance: float) -> Tensor:
    """Return W [L, L] so that `likeness_BL @ W.T` are coordinates whose products are likeness.

    Float64: landmarks are often nearly alike.
    """
    eye_LL = torch.eye(len(likeness_LL), dtype=torch.float64)
    root_LL = torch.linalg.cholesky(likeness_LL.double() + JITTER * variance * eye_LL)
    inverse_LL: Tensor = torch.linalg.solve_triangular(root_LL, eye_LL, upper=False)
    return inverse_LL
