"""`draft`: the reward's own gradient, through the last step (Clark et al. 2024, DRaFT-LV).

The fastest way to a differentiable reward, and the fastest to fool it: the spread's penalty and the
anchor are mandatory. Images are made without gradients; each is noised again to the last step's
level a few times (the low-variance variant), denoised once with gradients, decoded and scored.
Shapes: B images, N = B x copies examples, image by image.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generators.base import Conditions, Prompt, Trajectory
from generators.diffusion.generator import sample
from generators.rl.algorithms.base import ExamplesLoss, Kept, Reward, UpdateBatch
from generators.rl.algorithms.nft import fresh_noise
from generators.rl.policy import Policy, rollout_settings

COPIES = 2  # of an image at the last step


def draft(policy: Policy, batch: UpdateBatch) -> "Finished":
    """Make images with DDIM, trailing spacing.

    With leading spacing the last step is so clean that the prediction hardly moves the image: the
    gradient would be zero for all that matters.
    """
    generator = policy.generator
    trailing = copy.copy(generator)
    trailing.process = generator.process.trailing()
    settings = rollout_settings(policy.config)
    latents = sample(trailing, batch.conditions_B, batch.seeds_B, settings)
    last = trailing.process.timesteps(policy.config.num_steps)[-1]
    return Finished(latents, batch, last)


@dataclass(frozen=True)
class Finished:
    """Finished images, to be improved in their last step."""

    latents: Tensor
    batch: UpdateBatch
    last_timestep: float
    window_start: None = None

    def examples(self, policy: Policy, advantages_B: Tensor) -> "LastSteps":
        """Noise each image again; advantages are not needed, the reward itself is asked."""
        generator, num_images = policy.generator, len(self.latents)
        rows_N = torch.arange(num_images).repeat_interleave(COPIES)
        noise = fresh_noise(generator, self.batch.seeds_B, COPIES)
        t_N = torch.full((len(rows_N),), self.last_timestep)
        x_t = generator.process.noised(self.latents[rows_N], noise, t_N)
        return LastSteps(
            x_t=x_t,
            t_N=t_N,
            conditions=self.batch.conditions_B.select(rows_N).to(x_t.device),
            prompts_N=[self.batch.prompts_B[row] for row in rows_N.tolist()],
            reward=self.batch.reward,
            generator=generator,
            spread_penalty=policy.config.spread_penalty,
            guidance=policy.config.training_guidance,
        )


@dataclass(frozen=True)
class LastSteps:
    """Images one step from done; every field with a suffix has N rows."""

    x_t: Tensor
    t_N: Tensor
    conditions: Conditions
    prompts_N: Sequence[Prompt]
    reward: Reward
    generator: Trajectory
    spread_penalty: float
    guidance: float
    together: int = 1
    scale: float = 1.0
    kept: list[Kept] = field(default_factory=list)

    def loss(self, prediction: Tensor, start: Tensor | None, rows: Tensor) -> ExamplesLoss:
        """Return minus the reward, doubt counted against it, of the images predicted."""
        process, codec = self.generator.process, self.generator.codec
        latents = process.to_clean(prediction, self.x_t[rows], self.t_N[rows])
        images = codec.to_values(codec.decode(latents))
        mean_N, spread_N = self.reward(images, [self.prompts_N[row] for row in rows.tolist()])
        return ExamplesLoss(-(mean_N - self.spread_penalty * spread_N).mean().to(prediction.device))
