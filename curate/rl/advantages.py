"""Rewards to advantages: how much better an image is than its siblings, the same prompt's images.

Shapes: B images in groups of G siblings, B // G groups.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError

NO_SPREAD = 1e-6  # rewards that differ by less differ by float32's noise


@dataclass(frozen=True)
class Advantages:
    """Advantages, and how many groups had nothing to teach."""

    values_B: Tensor  # float32; siblings sum to 0 unless one was clipped
    num_zero_spread_groups: int


def group_advantages(rewards_B: Tensor, group_size: int, *, clip: float) -> Advantages:
    """Return rewards minus their group's mean, over the standard deviation of all of these.

    One deviation for all groups: each group's own would blow up differences between near ties.
    Groups without spread get zeros and do not count in the deviation. Raises CurateError for
    rewards that are not numbers, or that no group tells apart.
    """
    _refuse_unusable(rewards_B)
    rewards_MG = rewards_B.double().view(-1, group_size)
    differs_M = rewards_MG.amax(dim=1) - rewards_MG.amin(dim=1) > NO_SPREAD
    if not bool(differs_M.any()):
        raise CurateError(
            f"Within each of {len(rewards_MG)} groups of {group_size} images all rewards are equal "
            f"(about {float(rewards_B.mean()):.4g}): there is nothing to learn from. Look at the "
            "reward model's held-out quality, or take prompts whose images differ more."
        )
    centred_MG = (rewards_MG - rewards_MG.mean(dim=1, keepdim=True)) * differs_M[:, None]
    std = centred_MG[differs_M].square().mean().sqrt()
    advantages_B = (centred_MG / std).clamp(-clip, clip).flatten()
    return Advantages(advantages_B.float(), int((~differs_M).sum()))


def _refuse_unusable(rewards_B: Tensor) -> None:
    broken_B = ~torch.isfinite(rewards_B)
    if broken_B.any():
        raise CurateError(
            f"{int(broken_B.sum())} of {len(rewards_B)} rewards are not numbers (first: image "
            f"{int(broken_B.nonzero()[0])} of the update). Look at that image and at the reward "
            "model; the last checkpoint is whole."
        )
