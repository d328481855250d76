"""Which further ratings would teach a reward model most: a batch, chosen one after the other.

The reward model is a Gaussian process, so what it would know after a rating can be worked out
before anybody gives it: the variance of every image's latent quality falls by the squared
covariance with the rated one (active learning of Cohn 1996, for Gaussian processes by Seo et al.
2000). What counts is how sure the chances of each grade become, over all images,
per minute of a rater's time. The next image of the batch is chosen as if the first were rated, so
that a batch asks nothing twice. Shapes: N images, C criteria, K thresholds, L landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewards.likelihood import grade_probabilities
from rewards.posterior import Calibration, above, expected
from rewards.similarity import Kernel

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNRATED = Calibration(1.0, (-1.0, 1.0))  # before any rating all three grades are about as likely
LEAST_CHANCE = 1e-6


@dataclass(frozen=True)
class Joint:
    """What is known of many images' latent quality on one criterion, together; float64."""

    mean_N: Tensor
    covariance_NN: Tensor
    calibration: Calibration
    is_rated: bool = True  # some images were: it is known what makes a grade


def before_any_rating(features_ND: Tensor, prompts_NP: Tensor, kernel: Kernel) -> Joint:
    """Return what is known of images of which none was rated: only which are alike."""
    standard_ND = (features_ND - features_ND.mean(0)) / features_ND.std(0).clamp(min=1e-6)
    likeness_NN = kernel.images(standard_ND, standard_ND)
    covariance_NN = kernel.pairs(likeness_NN, prompts_NP, prompts_NP).double()
    mean_N = torch.zeros(len(features_ND), dtype=torch.float64)
    return Joint(mean_N, covariance_NN, UNRATED, is_rated=False)


def most_informative(
    joints: Sequence[Joint],
    count: int,
    *,
    answered_N: Flags,
    noise_N: Values,
    minutes_N: Values,
) -> list[int]:
    """Return `count` places, the most telling first, none of them `answered_N`.

    Those were answered after the joints were worked out: what they say is not known, but that
    they need not be asked again is. `noise_N` is how much less than usual a rating of an image
    tells (1 usual), `minutes_N` how long it takes. Every joint is of the same images.
    """
    criteria = [_Criterion(joint, noise_N) for joint in joints]
    for place in np.flatnonzero(answered_N).tolist():
        for criterion in criteria:
            criterion.learn(place)
    waiting_N = ~answered_N
    chosen: list[int] = []
    for _ in range(min(count, int(waiting_N.sum()))):
        told_N = sum((criterion.gains() for criterion in criteria), np.zeros(len(minutes_N)))
        place = int(np.where(waiting_N, told_N / minutes_N, -1.0).argmax())
        for criterion in criteria:
            criterion.learn(place)
        waiting_N[place] = False
        chosen.append(place)
    return chosen


class _Criterion:
    """One criterion's covariance, which shrinks as images are taken for rated."""

    def __init__(self, joint: Joint, noise_N: Values) -> None:
        variance_N = joint.covariance_NN.diagonal().clamp(min=0)
        chances_MNK = above(joint.mean_N, variance_N, joint.calibration)
        slope_NK = joint.calibration.slope * expected(chances_MNK * (1 - chances_MNK))
        self.is_rated = joint.is_rated
        self.covariance_NN = joint.covariance_NN.numpy().copy()
        self.counts_N = slope_NK.square().sum(1).numpy()  # chance's variance by the latent's
        edge_N1 = torch.zeros_like(slope_NK[:, :1])
        slopes_NG = torch.cat([edge_N1, slope_NK], 1) - torch.cat([slope_NK, edge_N1], 1)
        grades_NG = grade_probabilities(expected(chances_MNK)).clamp(min=LEAST_CHANCE)
        self.error_N = (
            noise_N / (slopes_NG.square() / grades_NG).sum(1).clamp(min=LEAST_CHANCE).numpy()
        )

    def gains(self) -> Values:
        """Return how much variance of all images' chances a rating of each would take away.

        Before any rating, when it is not known what counts, the least known image comes first, so
        that a first batch spans all there is: rare images are often the bad ones.
        """
        variance_N = self.covariance_NN.diagonal()
        if not self.is_rated:
            return variance_N.copy()
        taken_N: Values = self.counts_N @ np.square(self.covariance_NN)
        gains_N: Values = taken_N / (variance_N + self.error_N)
        return gains_N

    def learn(self, place: int) -> None:
        """Take one image for rated."""
        with_N = self.covariance_NN[place].copy()
        self.covariance_NN -= np.outer(with_N / (with_N[place] + self.error_N[place]), with_N)
