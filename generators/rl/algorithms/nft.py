"""`nft`: learn from the images alone, whatever sampler made them (Zheng et al. 2025, DiffusionNFT).

Each image is noised as in ordinary training. A good one pulls the denoiser towards it, a bad one
pushes an implicit mirror image of the denoiser towards it. Both losses are bounded, so that bad
images cannot drive the weights anywhere. There are no log-probabilities, hence no gap between
random rollouts and the sampler that is deployed: that one makes the images here.
Shapes: B images, M noise levels an image, N = B x M examples, image by image.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generators.base import Conditions, Process, Trajectory
from generators.diffusion.generator import sample
from generators.diffusion.samplers import initial_noise
from generators.rl.algorithms.base import ExamplesLoss, Kept, UpdateBatch
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, rollout_settings
from generators.seeds import hashed_seed

NO_ERROR = 1e-5  # below, a branch's error is rounding


def nft(policy: Policy, batch: UpdateBatch) -> "Images":
    """Make images with the old policy and the sampler that is deployed."""
    settings = rollout_settings(policy.config, policy.config.sampler)
    with policy.at_old():
        latents = sample(policy.generator, batch.conditions_B, batch.seeds_B, settings)
    return Images(latents, batch.conditions_B, batch.seeds_B)


@dataclass(frozen=True)
class Images:
    """Clean latents: all that this algorithm must know of an image, beside its advantage."""

    latents: Tensor
    conditions_B: Conditions
    seeds_B: Sequence[int]  # the noise levels and noises of an image derive from its seed
    window_start: None = None

    def examples(self, policy: Policy, advantages_B: Tensor) -> "NoisedImages":
        """Noise each image at M levels, and note what the old policy predicts for it."""
        config, generator = policy.config, policy.generator
        num_levels = config.timesteps_per_image
        x_0 = self.latents.repeat_interleave(num_levels, dim=0)
        t_N = torch.cat(
            [drawn_levels(generator.process, seed, num_levels) for seed in self.seeds_B]
        )
        noise = fresh_noise(generator, self.seeds_B, num_levels)
        rows_N = torch.arange(len(self.latents)).repeat_interleave(num_levels)
        x_t = generator.process.noised(x_0, noise, t_N)
        conditions = self.conditions_B.select(rows_N).to(x_t.device)
        with policy.at_old():
            old = policy.predictions(x_t, t_N, conditions)
        return NoisedImages(
            x_t=x_t,
            t_N=t_N,
            conditions=conditions,
            target=generator.process.target(x_0, noise, t_N),
            old=old,
            goodness_N=goodness(advantages_B, config)[rows_N].to(x_t.device),
            strength=config.nft_strength,
            noise_share_N=generator.process.shares(t_N)[1].to(x_t),
            guidance=config.training_guidance,
        )


def goodness(advantages_B: Tensor, config: RLConfig) -> Tensor:
    """Return advantages as probabilities of being a good image: 0 worst, 1/2 average, 1 best."""
    return 0.5 + 0.5 * (advantages_B / config.advantage_clip).clamp(-1, 1)


@dataclass(frozen=True)
class NoisedImages:
    """Images noised, with the denoiser's target; every tensor has N rows."""

    x_t: Tensor
    t_N: Tensor
    conditions: Conditions
    target: Tensor  # what a perfect denoiser would predict: noise, or v
    old: Tensor  # what the policy that made the images predicts
    goodness_N: Tensor  # 0 .. 1
    strength: float  # beta
    noise_share_N: Tensor  # standard deviation of the noise in x_t, 0 .. 1
    guidance: float
    together: int = 1
    scale: float = 1.0
    kept: list[Kept] = field(default_factory=list)

    def loss(self, prediction: Tensor, start: Tensor | None, rows: Tensor) -> ExamplesLoss:
        """Return the reward-weighted losses of the two implicit policies."""
        old, target = self.old[rows], self.target[rows]
        change = self.strength * (prediction - old)
        towards_N = _relative_error(old + change, target)
        away_N = _relative_error(old - change, target)
        good_N = self.goodness_N[rows]
        loss_N = (good_N * towards_N + (1 - good_N) * away_N) / self.strength
        return ExamplesLoss((self.noise_share_N[rows] * loss_N).mean())


def _relative_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean square error over the mean absolute error [N]: as steep at all levels.

    With v and the noise's share as a factor it is the paper's adaptive loss on predicted images;
    for epsilon that one grows without bound at high noise, and this does not.
    """
    error = (prediction - target).flatten(1)
    return error.square().mean(dim=1) / error.detach().abs().mean(dim=1).clamp(min=NO_ERROR)


def drawn_levels(process: Process, seed: int, num_levels: int) -> Tensor:
    """Return M timesteps, one drawn from each M-th of all."""
    draw = random.Random(f"nft levels {seed}")
    positions = [(level + draw.random()) / num_levels for level in range(num_levels)]
    levels = [position * process.num_train_steps for position in positions]
    return process.times(torch.tensor(levels, dtype=torch.float64))


def fresh_noise(generator: Trajectory, seeds_B: Sequence[int], copies: int) -> Tensor:
    """Return `copies` noises an image [B x copies, ...], all from the image's seed."""
    seeds_N = [hashed_seed(f"noise {seed} {copy}") for seed in seeds_B for copy in range(copies)]
    return initial_noise(seeds_N, generator.latent_shape).to(generator.device)
