"""Images of the policy itself, scored by a reward: the usual source of what is learned.

Shapes: B images of this process, G siblings of a prompt; A images of all processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.base import Prompt
from generators.diffusion.samplers import decode
from generators.errors import GeneratorError
from generators.rl.advantages import PromptBuffers, advantages_within
from generators.rl.algorithms.base import MadeImages, Reward, UpdateBatch
from generators.rl.algorithms.registry import algorithm_named
from generators.rl.policy import Policy
from generators.rl.source import UpdateLesson, UpdateRewards, prompts_of_update, rollout_seed
from generators.training.processes import Processes


@dataclass(frozen=True)
class Rewarded:
    """The images of one update, made and scored."""

    made: MadeImages
    mean_B: Tensor  # rewards, float32 on the CPU
    spread_B: Tensor

    def penalised(self, spread_penalty: float) -> Tensor:
        """Return what the policy is trained on: doubt counts against an image."""
        return self.mean_B - spread_penalty * self.spread_B


@dataclass(frozen=True)
class Rollouts:
    """New images for every update, groups of siblings of the prompts in turn."""

    prompts: Sequence[Prompt]
    reward: Reward

    def lesson(
        self, policy: Policy, update: int, buffers: PromptBuffers, processes: Processes
    ) -> UpdateLesson:
        """Make and score this process's groups; their advantages are taken among all."""
        config = policy.config
        rewarded = rewarded_images(policy, self.prompts, self.reward, update, processes)
        spread_A = processes.gathered(rewarded.spread_B)
        mean_A = processes.gathered(rewarded.mean_B)
        rewards_A = mean_A - config.spread_penalty * spread_A
        chosen = prompts_of_update(len(self.prompts), config, update)
        prompts_A = [prompt for prompt in chosen for _ in range(config.group_size)]
        if config.baseline_buffer and bool(torch.isfinite(rewards_A).all()):
            buffers = buffers.with_rewards(prompts_A, rewards_A)
        advantages = advantages_within(
            rewards_A,
            torch.arange(len(rewards_A)) // config.group_size,
            clip=config.advantage_clip,
            baselines_B=buffers.baselines(prompts_A) if config.baseline_buffer else None,
        )
        figures = UpdateRewards(
            mean=mean_A.mean().item(),
            sd=rewards_A.std().item(),
            spread_mean=spread_A.mean().item(),
            zero_spread_groups=advantages.num_zero_spread_groups,
        )
        mine = processes.in_blocks(len(rewards_A))
        return UpdateLesson(
            rewarded.made, advantages.values_B[mine.start : mine.stop], figures, buffers
        )


def rewarded_images(
    policy: Policy,
    prompts: Sequence[Prompt],
    reward: Reward,
    update: int,
    processes: Processes,
) -> Rewarded:
    """Make this process's images of one update and score them."""
    config, generator = policy.config, policy.generator
    chosen = prompts_of_update(len(prompts), config, update)
    groups = processes.in_blocks(len(chosen))
    of_groups = [prompts[chosen[group]] for group in groups]
    rows_B = torch.arange(len(groups)).repeat_interleave(config.group_size)
    first = groups.start * config.group_size
    batch = UpdateBatch(
        prompts_B=[of_groups[row] for row in rows_B],
        conditions_B=generator.condition(of_groups).select(rows_B),
        seeds_B=[rollout_seed(config, update, first + index) for index in range(len(rows_B))],
        update=update,
        reward=reward,
    )
    made = algorithm_named(config.algorithm)(policy, batch)
    images = generator.codec.to_values(decode(generator, made.latents, config.rollout_batch))
    with torch.no_grad():
        mean_B, spread_B = reward(images, batch.prompts_B)
    if mean_B.shape != (len(rows_B),) or spread_B.shape != (len(rows_B),):
        raise GeneratorError(
            f"The reward gave means of shape {tuple(mean_B.shape)} and spreads of shape "
            f"{tuple(spread_B.shape)} for {len(rows_B)} images; it must give one number each."
        )
    return Rewarded(made, mean_B.float().cpu(), spread_B.float().cpu())
