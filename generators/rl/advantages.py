"""Rewards to advantages: how much better an image is than its siblings, the same prompt's images.

Shapes: B images in M groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.errors import GeneratorError

NO_SPREAD = 1e-6  # rewards that differ by less differ by float32's noise


@dataclass(frozen=True)
class Advantages:
    """Advantages, and how many groups had nothing to teach."""

    values_B: Tensor  # float32; siblings sum to 0 unless one was clipped
    num_zero_spread_groups: int


def group_advantages(rewards_B: Tensor, group_size: int, *, clip: float) -> Advantages:
    """Return `advantages_within` groups of neighbours, `group_size` each."""
    groups_B = torch.arange(len(rewards_B)) // group_size
    return advantages_within(rewards_B, groups_B, clip=clip)


def advantages_within(
    rewards_B: Tensor, groups_B: Tensor, *, clip: float, baselines_B: Tensor | None = None
) -> Advantages:
    """Return rewards minus their group's mean, over the standard deviation of all of these.

    One deviation for all groups: each group's own would blow up differences between near ties.
    `baselines_B` are used instead of the means. Groups that teach nothing get zeros and do not
    count in the deviation. Raises GeneratorError for NaN or infinite rewards, and for those that no
    group tells apart.
    """
    broken_B = ~torch.isfinite(rewards_B)
    if broken_B.any():
        raise GeneratorError(
            f"{int(broken_B.sum())} of {len(rewards_B)} rewards are NaN or infinite (first: image "
            f"{int(broken_B.nonzero()[0])} of the update). Look at that image and at the reward "
            "model; the last checkpoint is whole."
        )
    rewards_B = rewards_B.double()
    spread_B = _over_groups(rewards_B, groups_B, "amax") - _over_groups(rewards_B, groups_B, "amin")
    teaches_B = spread_B > NO_SPREAD
    num_groups = int(groups_B.max()) + 1
    num_zero_spread = num_groups - len(groups_B[teaches_B].unique())
    if baselines_B is None:
        centred_B = rewards_B - _over_groups(rewards_B, groups_B, "mean")
    else:
        centred_B = rewards_B - baselines_B.double()
        teaches_B = teaches_B | (centred_B.abs() > NO_SPREAD)
    if not bool(teaches_B.any()):
        raise GeneratorError(
            f"Within each of {num_groups} groups ({len(rewards_B)} images) all rewards are equal "
            f"(about {float(rewards_B.mean()):.4g}): there is nothing to learn from. Look at the "
            "reward model's held-out quality, or take prompts whose images differ more."
        )
    centred_B = centred_B * teaches_B
    std = centred_B[teaches_B].square().mean().sqrt()
    return Advantages((centred_B / std).clamp(-clip, clip).float(), num_zero_spread)


def _over_groups(values_B: Tensor, groups_B: Tensor, how: str) -> Tensor:
    """Return each image's group's mean, minimum or maximum [B]."""
    of_groups_M = torch.zeros(int(groups_B.max()) + 1, dtype=values_B.dtype)
    of_groups_M = of_groups_M.scatter_reduce(0, groups_B, values_B, how, include_self=False)
    return of_groups_M[groups_B]


@dataclass(frozen=True)
class PromptBuffers:
    """The last rewards of each prompt: a steadier baseline than siblings where prompts are few.

    As in DDPO (Black et al. 2024, section 5), but only their mean is subtracted.
    """

    size: int  # rewards kept of a prompt
    rewards: Mapping[int, Sequence[float]]  # by the prompt's number, oldest first

    def with_rewards(self, prompts_B: Sequence[int], rewards_B: Tensor) -> "PromptBuffers":
        """Return the buffers with these rewards added and the oldest dropped."""
        rewards = {prompt: list(kept) for prompt, kept in self.rewards.items()}
        for prompt, reward in zip(prompts_B, rewards_B.tolist(), strict=True):
            rewards.setdefault(prompt, []).append(reward)
        return PromptBuffers(
            self.size, {prompt: kept[-self.size :] for prompt, kept in rewards.items()}
        )

    def baselines(self, prompts_B: Sequence[int]) -> Tensor:
        """Return the mean of each image's prompt [B]."""
        means = {
            prompt: sum(self.rewards[prompt]) / len(self.rewards[prompt]) for prompt in prompts_B
        }
        return torch.tensor([means[prompt] for prompt in prompts_B], dtype=torch.float64)
