"""`dpo`: learn from pairs that people have compared (Wallace et al. 2024, Diffusion-DPO).

No reward model and no rollouts: both images of a pair are noised alike, and the denoiser is to gain
more on the better one than the frozen start does. With adapters the start is the U-Net without
them. Shapes: P pairs of this process, N = P x M x 2 examples: better, worse, better, worse ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from generators.base import Conditions, Prompt
from generators.rl.advantages import PromptBuffers
from generators.rl.algorithms.base import ExamplesLoss, Kept
from generators.rl.algorithms.nft import drawn_levels, fresh_noise
from generators.rl.policy import Policy
from generators.rl.source import UpdateLesson, UpdateRewards, drawn, rollout_seed
from generators.training.processes import Processes


@dataclass(frozen=True)
class PreferredPairs:
    """All pairs; row i of each belongs to pair i. Rated: the better image and the worse one."""

    better: Tensor  # latents
    worse: Tensor
    prompts: Sequence[Prompt]  # that both show

    def lesson(
        self, policy: Policy, update: int, buffers: PromptBuffers, processes: Processes
    ) -> UpdateLesson:
        """Draw this process's share of the update's pairs; there are no rewards."""
        config = policy.config
        per_update = config.images_per_update // 2
        chosen = drawn(len(self.better), per_update, config, update, "pairs")
        mine = processes.in_blocks(per_update)
        rows = chosen[mine.start : mine.stop]
        made = Drawn(
            latents=torch.stack([self.better[rows], self.worse[rows]], dim=1).flatten(0, 1),
            conditions_P=policy.generator.condition([self.prompts[row] for row in rows]),
            seeds_P=[rollout_seed(config, update, index) for index in mine],
        )
        no_rewards = UpdateRewards(mean=0.0, sd=0.0, spread_mean=0.0, zero_spread_groups=0)
        return UpdateLesson(made, torch.zeros(2 * len(rows)), no_rewards, buffers)

    def check(self, policy: Policy) -> None:
        """Know of no reward that could tell: the last weights are the result."""


@dataclass(frozen=True)
class Drawn:
    """The pairs of one update: better, worse, better, worse ..."""

    latents: Tensor
    conditions_P: Conditions
    seeds_P: list[int]
    window_start: None = None

    def examples(self, policy: Policy, advantages_B: Tensor) -> "NoisedPairs":
        """Noise both images of a pair with the same noise, at M levels."""
        config, generator = policy.config, policy.generator
        process, num_levels = generator.process, config.timesteps_per_image
        rows_N = torch.arange(len(self.latents)).view(-1, 1, 2).expand(-1, num_levels, 2).flatten()
        levels = [drawn_levels(process, seed, num_levels) for seed in self.seeds_P]
        t_N = torch.cat(levels).repeat_interleave(2)
        noise = fresh_noise(generator, self.seeds_P, num_levels).repeat_interleave(2, dim=0)
        clean = self.latents[rows_N].to(noise)
        return NoisedPairs(
            x_t=process.noised(clean, noise, t_N),
            t_N=t_N,
            conditions=self.conditions_P.select(rows_N // 2).to(noise.device),
            target=process.target(clean, noise, t_N),
            strength=config.dpo_strength,
            guidance=config.training_guidance,
        )


@dataclass(frozen=True)
class NoisedPairs:
    """Pairs noised alike, with the denoiser's targets; every tensor has N rows."""

    x_t: Tensor
    t_N: Tensor
    conditions: Conditions
    target: Tensor
    strength: float  # beta
    guidance: float
    together: int = 2
    scale: float = 1.0
    kept: list[Kept] = field(default_factory=list)

    def loss(self, prediction: Tensor, start: Tensor | None, rows: Tensor) -> ExamplesLoss:
        """Return minus the log-probability that the better image is preferred."""
        assert start is not None  # what dpo compares with
        target = self.target[rows]
        gain_N = _error(start, target) - _error(prediction, target)
        margin_P = gain_N[0::2] - gain_N[1::2]
        return ExamplesLoss(-functional.logsigmoid(self.strength / 2 * margin_P).mean())


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().flatten(1).mean(dim=1)
