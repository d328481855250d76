"""How near a set of images lies to real ones. In shapes: N, M images, D features, C classes.

Every figure rests on a feature network: name it beside the figure. With Inception's weights
`frechet` is what the field calls FID, with others it is a Frechet distance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.evaluation.intervals import Estimate, normal_quantile
from curate.evaluation.privacy import nearest

NEIGHBOURS = 5  # of precision, recall, density and coverage
SIZES = 10  # of the line through which the distance of endlessly many images is found


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


def of_halves(
    figure: Callable[[Tensor, Tensor], float],
    features_ND: Tensor,
    real_MD: Tensor,
    *,
    num_subsets: int = 30,
    seed: int = 0,
) -> Estimate:
    """Return a figure of two sets with an interval from halves of both (as KID's is)."""
    features, real = features_ND.double(), real_MD.double()
    random = torch.Generator().manual_seed(seed)
    halves = [figure(_half(features, random), _half(real, random)) for _ in range(num_subsets)]
    value = figure(features, real)
    width = normal_quantile(0.95) * float(np.std(halves, ddof=1))
    return Estimate(value, value - width, value + width, len(features_ND))


def frechet(first_ND: Tensor, second_MD: Tensor) -> float:
    """Return the Frechet distance of two Gaussians with the sets' means and covariances.

    Heusel et al. 2017 (NeurIPS). Eigenvalues in float64, none below 0: a root of a matrix product
    turns complex where there are fewer images than features. The figure falls with the number of
    images; `frechet_of_many` takes that away.
    """
    first, second = first_ND.double(), second_MD.double()
    covariance_1, covariance_2 = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(covariance_1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    crossed = torch.linalg.eigvalsh(root @ covariance_2 @ root).clamp(min=0).sqrt().sum()
    means = (first.mean(0) - second.mean(0)).square().sum()
    return float(means + covariance_1.trace() + covariance_2.trace() - 2 * crossed)


def frechet_of_many(first_ND: Tensor, second_MD: Tensor, *, seed: int = 0) -> float:
    """Return the Frechet distance extrapolated to endlessly many images; may be below 0.

    Chong & Forsyth 2020 (CVPR): a line through the distances at ten sizes, over 1/n, here of both
    sets; it is read at 1/n = 0.
    """
    random = torch.Generator().manual_seed(seed)
    inverse, distances = [], []
    for share in np.linspace(0.4, 1.0, SIZES):
        parts = [
            some[torch.randperm(len(some), generator=random)[: max(3, int(share * len(some)))]]
            for some in (first_ND, second_MD)
        ]
        inverse.append(1 / len(parts[0]) + 1 / len(parts[1]))
        distances.append(frechet(*parts))
    return float(np.polyfit(inverse, distances, 1)[1])


def compact(first_ND: Tensor, second_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sets on the second's main axes, as many as its images can carry: n / 4.

    A covariance of fewer than two images a feature has directions without any spread.
    """
    fewest = min(len(first_ND), len(second_MD))
    if fewest >= 2 * first_ND.shape[1]:
        return first_ND, second_MD
    mean_D = second_MD.mean(0)
    axes = torch.linalg.svd(second_MD - mean_D, full_matrices=False)[2][: max(1, fewest // 4)]
    return (first_ND - mean_D) @ axes.T, (second_MD - mean_D) @ axes.T


def bounded_mmd(first_ND: Tensor, second_MD: Tensor) -> float:
    """Return the unbiased squared MMD of a Gaussian kernel, its width the real median distance.

    KID's cubic kernel follows a few outliers; this kernel is at most 1 (CMMD: Jayasumana et al.
    2024, CVPR, there on CLIP).
    """
    first, second = first_ND.double(), second_MD.double()
    width = torch.cdist(second, second).median().clamp(min=1e-12)

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        return torch.exp(-(torch.cdist(one, other) / width).square() / 2)

    num, num_other = len(first), len(second)
    within_1 = (kernel(first, first).sum() - num) / (num * (num - 1))
    within_2 = (kernel(second, second).sum() - num_other) / (num_other * (num_other - 1))
    return float(within_1 + within_2 - 2 * kernel(first, second).mean())


def inception_score(probabilities_NC: Tensor) -> float:
    """Return exp of the mean divergence of each image's classes from all images', 1 .. C.

    Salimans et al. 2016 (NeurIPS), of whatever classifier gave the probabilities.
    """
    p_NC = probabilities_NC.double()
    divergence_N = torch.special.xlogy(p_NC, p_NC / p_NC.mean(0).clamp(min=1e-300)).sum(1)
    return float(divergence_N.mean().exp())


@dataclass(frozen=True)
class Manifolds:
    """What share of one set lies where the other set is; see `manifolds`."""

    precision: float  # of generated images within a real image's ball
    recall: float  # of real images within a generated image's ball
    density: float  # real balls that a generated image lies in, over k; may be above 1
    coverage: float  # of real images whose ball holds a generated image


def manifolds(features_ND: Tensor, real_MD: Tensor, *, k: int = NEIGHBOURS) -> Manifolds:
    """Return precision and recall, density and coverage, balls reaching to the k-th neighbour.

    Kynkaanniemi et al. 2019 (NeurIPS); Naeem et al. 2020 (ICML). A point on a ball's edge counts.
    """
    if min(len(features_ND), len(real_MD)) <= k:
        raise ValueError(f"{len(features_ND)} and {len(real_MD)} images; balls need over {k}")
    features, real = features_ND.double(), real_MD.double()
    exact = "donot_use_mm_for_euclid_dist"
    between_MN = torch.cdist(real, features, compute_mode=exact)
    real_radius, radius = (
        torch.cdist(one, one, compute_mode=exact).kthvalue(k + 1).values for one in (real, features)
    )
    in_real_MN = between_MN <= real_radius[:, None]
    return Manifolds(
        precision=float(in_real_MN.any(0).double().mean()),
        recall=float((between_MN <= radius).any(1).double().mean()),
        density=float(in_real_MN.double().sum(0).mean() / k),
        coverage=float((nearest(real, features)[0] <= real_radius).double().mean()),
    )


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
