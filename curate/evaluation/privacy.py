"""Whether images copy training images. In shapes: N images, M training images, D features."""

import torch
from torch import Tensor

from curate.evaluation.intervals import Estimate, normal_quantile, wilson_interval

BLOCK = 1024  # rows of the distance matrix at a time, to bound the memory
RADIUS_PERCENTILE = 0.01
SAME_IMAGE = 0.05  # of the median distance: nearer, a held-out image is a training image again


def nearest(features_ND: Tensor, train_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's Euclidean distance to its nearest training image, [N], and which, [N]."""
    blocks = [
        torch.cdist(block, train_MD, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        for block in features_ND.split(BLOCK)
    ]
    if not blocks:
        return features_ND.new_empty(0), torch.empty(0, dtype=torch.long)
    return torch.cat([b.values for b in blocks]), torch.cat([b.indices for b in blocks])


def copy_radius(val_distances_V: Tensor) -> float:
    """Return the distance under which an image counts as a copy of a training image.

    The 1st percentile of the distances from real held-out images to their nearest training
    image: a patient the training never saw comes that near once in a hundred. Held-out images
    that are a training image again, as public collections have some, are no such patient; three
    among a hundred would make the radius so small that nothing counted as a copy.
    """
    distances_V = val_distances_V.double()
    unseen_V = distances_V[distances_V >= SAME_IMAGE * distances_V.median()]
    return float(unseen_V.quantile(RADIUS_PERCENTILE))


def memorised_share(features_ND: Tensor, train_MD: Tensor, *, radius: float) -> Estimate:
    """Return the share of images within `radius` of a training image, with Wilson's interval.

    1 % is what unseen real images would show; well above it, the generator copies.
    """
    distances, _ = nearest(features_ND, train_MD)
    return wilson_interval(int((distances < radius).sum()), len(features_ND))


def membership_auc(features_ND: Tensor, train_MD: Tensor, held_out_VD: Tensor) -> Estimate:
    """Return how well nearness to a generated image tells training images from held-out ones.

    0.5: not at all; 1: every training image has a generated one nearer than any held-out image
    has. The nearest-neighbour attack of Chen et al. 2020 (CCS, GAN-Leaks), with the interval of
    Hanley & McNeil 1982 (Radiology 143:29).
    """
    near_M, near_V = (nearest(real, features_ND)[0] for real in (train_MD, held_out_VD))
    return auc(-near_M, -near_V)


def auc(positives_P: Tensor, negatives_N: Tensor) -> Estimate:
    """Return the chance that a positive's score is above a negative's, ties by half."""
    num, others = len(positives_P), len(negatives_N)
    above = torch.searchsorted(negatives_N.sort().values, positives_P).double()
    not_below = torch.searchsorted(negatives_N.sort().values, positives_P, right=True).double()
    value = float((above + not_below).mean() / (2 * others))
    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (num - 1) * (first - value**2)
    variance = (variance + (others - 1) * (second - value**2)) / (num * others)
    width = normal_quantile(0.95) * max(0.0, variance) ** 0.5
    return Estimate(value, max(0.0, value - width), min(1.0, value + width), num)
