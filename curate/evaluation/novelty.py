"""Whether images are like none of the training images. Shapes: N, M images, D features."""

import torch
from torch import Tensor

SHRINKAGE = 1e-3  # of the mean variance, added to each: few images leave directions without any
FAR_PERCENTILE = 0.99  # of the training images' own distances: farther is out of distribution


def mahalanobis(features_ND: Tensor, train_MD: Tensor) -> Tensor:
    """Return each image's distance from the training images' mean, in their own spread, [N].

    Lee et al. 2018 (NeurIPS), with one Gaussian for all. Distances to the nearest image miss what
    this sees: in a self-supervised network's features noise lies near everything.
    """
    train = train_MD.double()
    covariance = torch.cov(train.T)
    shrunk = covariance + SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    centred_ND = features_ND.double() - train.mean(dim=0)
    squares_N: Tensor = (centred_ND * torch.linalg.solve(shrunk, centred_ND.T).T).sum(dim=1)
    return squares_N.sqrt()


def are_far(features_ND: Tensor, train_MD: Tensor) -> Tensor:
    """Tell of each image whether it lies farther out than 99 % of the training images, [N]."""
    limit = mahalanobis(train_MD, train_MD).quantile(FAR_PERCENTILE)
    return mahalanobis(features_ND, train_MD) > limit


def far_share(features_ND: Tensor, train_MD: Tensor) -> float:
    """Return the share of images farther out than 99 % of the training images, 0 .. 1."""
    return float(are_far(features_ND, train_MD).double().mean())
