"""How near a set of images lies to real ones: KID. In shapes: N, M images, D features."""

import torch
from torch import Tensor

from curate.evaluation.intervals import Estimate, normal_quantile


def kid(
    features_ND: Tensor,
    real_MD: Tensor,
    *,
    num_subsets: int = 100,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return the kernel Inception distance, here on any feature network: name it beside the figure.

    The unbiased squared MMD of the cubic polynomial kernel (Binkowski et al. 2018, ICLR), about 0
    for two samples of one distribution, so that it may be negative. The interval comes from
    subsets of half of each set: their spread is the figure's standard error (the delete-half
    jackknife, Shao & Wu 1989, Ann. Stat. 17:1176).
    """
    if min(len(features_ND), len(real_MD)) < 4:
        raise ValueError(f"{len(features_ND)} and {len(real_MD)} images; KID needs 4 of each")
    features, real = features_ND.double(), real_MD.double()
    random = torch.Generator().manual_seed(seed)
    subsets = torch.stack(
        [squared_mmd(_half(features, random), _half(real, random)) for _ in range(num_subsets)]
    )
    value = squared_mmd(features, real).item()
    half_width = normal_quantile(confidence) * subsets.std().item()
    return Estimate(value, value - half_width, value + half_width, len(features_ND))


def squared_mmd(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Return the unbiased squared MMD of the kernel (x.y / D + 1)^3, a scalar."""
    num, num_other = len(first_ND), len(second_MD)
    within_1 = _kernel(first_ND, first_ND)
    within_2 = _kernel(second_MD, second_MD)
    # an image's likeness to itself is left out: that is what makes the figure unbiased
    mean_1 = (within_1.sum() - within_1.trace()) / (num * (num - 1))
    mean_2 = (within_2.sum() - within_2.trace()) / (num_other * (num_other - 1))
    return mean_1 + mean_2 - 2 * _kernel(first_ND, second_MD).mean()


def _kernel(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    return (first_ND @ second_MD.T / first_ND.shape[1] + 1) ** 3


def _half(features_ND: Tensor, random: torch.Generator) -> Tensor:
    order = torch.randperm(len(features_ND), generator=random)
    return features_ND[order[: len(features_ND) // 2]]
