"""The policy gradient's loss, and how far the weights have moved from where they started.

Shapes: N (image, step) pairs, K trained steps; a name without a suffix is a batch of latents.
Log-probabilities are *means* over the D latent elements: clip ranges are near 1e-4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from generators.base import Process

SMALL = 1e-6  # a probe small enough that no clamp of predicted images acts


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of a batch of pairs, and whether the clip acted."""

    loss: Tensor  # scalar
    clipped_fraction: float  # of pairs whose ratio left 1 +- clip


def clipped_policy_loss(
    log_probs_N: Tensor,
    old_log_probs_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    *,
    clip: float,
) -> PolicyLoss:
    """Return PPO's clipped surrogate, weighted by step and averaged over pairs."""
    ratio_N = (log_probs_N - old_log_probs_N).exp()
    clipped_N = ratio_N.clamp(1 - clip, 1 + clip)
    loss_N = -torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)
    clipped_fraction = ((ratio_N.detach() - 1).abs() > clip).float().mean().item()
    return PolicyLoss((weights_N * loss_N).mean(), clipped_fraction)


def step_weights(process: Process, t_K: Tensor, t_next_K: Tensor, *, eta: float) -> Tensor:
    """Return weights with mean 1 that let each step of the window pull equally.

    A pair's gradient grows with slope / std, the slope being how much the step's mean moves with
    the prediction. Unweighted, the least noisy step would drown the others (GRPO-Guard).
    """
    zeros_K1 = torch.zeros(len(t_K), 1, dtype=torch.float64)
    at_zero_K1, std_K1 = process.step(zeros_K1, zeros_K1, t_K, t_next_K, eta)
    beside_K1, _ = process.step(zeros_K1 + SMALL, zeros_K1, t_K, t_next_K, eta)
    slope_K = ((beside_K1 - at_zero_K1) / SMALL).abs().flatten()
    weights_K = std_K1.flatten() / slope_K
    return (weights_K / weights_K.mean()).float()


@torch.no_grad()
def exact_kl(mean: Tensor, start_mean: Tensor, std: Tensor) -> float:
    """Return the KL in nats an image and step: summed over latent elements, mean over pairs.

    The two step distributions share `std`. It is reported; what the loss holds down is the mean
    squared change of the predictions, which counts all noise levels alike, where this one would
    let the noisiest drift: the two differ by a factor a step.
    """
    kl_N = ((mean - start_mean) / std).square().flatten(1).sum(dim=1) / 2
    return kl_N.mean().item()
