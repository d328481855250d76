"""What a training asks of a generator: which noise a slot is drawn with, and what it costs.

A generator with denoising steps learns to denoise. One without brings an objective of its own.
Shapes: B images; a name without a suffix is [B, C, *spatial].
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from generators.base import Conditions, Trainable, Trajectory, require_trajectory
from generators.training.config import TrainingConfig
from generators.training.lesson import Slot
from generators.training.loss import diffusion_losses
from generators.training.weights import Weights


class Objective(Protocol):
    """The loss of a training, and what its slots draw."""

    @property
    def rival(self) -> Weights | None:
        """Return weights that learn against the generator's in the same steps, if there are any."""
        ...

    def draw_time(self, source: torch.Generator) -> float:
        """Return the timestep of a slot; 0 where there are none."""
        ...

    def losses(self, latents: Tensor, conditions: Conditions, slots: Sequence[Slot]) -> Tensor:
        """Return the loss [B] whose gradient all weights follow."""
        ...

    def held_out(self, latents: Tensor, conditions: Conditions, source: torch.Generator) -> Tensor:
        """Return the unweighted loss [B] of one image shown B times, each with a draw of its own.

        `latents` is [B, C, *spatial]; `source` is always the same for an image.
        """
        ...


@runtime_checkable
class LearnsByItself(Protocol):
    """The capability of generators that say themselves by what they learn."""

    def objective(self, config: TrainingConfig) -> Objective:
        """Return it; GeneratorError for settings that mean nothing to it."""
        ...


def objective_of(generator: Trainable, config: TrainingConfig) -> Objective:
    """Return by what a generator learns: its own objective, or denoising."""
    if isinstance(generator, LearnsByItself):
        return generator.objective(config)
    return Denoising(require_trajectory(generator), config)


class Denoising:
    """The loss of diffusion and flow matching, at noise levels drawn as the settings say."""

    rival = None

    def __init__(self, generator: Trajectory, config: TrainingConfig) -> None:
        """Take the generator whose denoiser learns."""
        self.generator, self.config = generator, config

    def draw_time(self, source: torch.Generator) -> float:
        """Return a timestep to train on."""
        process, config = self.generator.process, self.config
        if config.noisiest_share or config.noisy_share:
            which, where = torch.rand(2, generator=source).tolist()
            if which < config.noisiest_share:
                return process.noisiest
            if which < config.noisiest_share + config.noisy_share:
                level = torch.tensor(process.num_train_steps * (1 - where / 4))
                return min(float(process.times(level)), process.noisiest)
        return process.draw_time(source)

    def losses(self, latents: Tensor, conditions: Conditions, slots: Sequence[Slot]) -> Tensor:
        """Return the weighted squared error of the prediction."""
        gamma = self.config.min_snr_gamma
        if self.generator.process.prediction_type == "flow_prediction":
            gamma = 0.0  # what matters more is drawn more often instead
        return diffusion_losses(
            self.generator,
            latents,
            conditions,
            torch.tensor([slot.timestep for slot in slots]),
            torch.stack([slot.noise for slot in slots]).to(latents.device),
            added_noise=torch.stack([slot.added_noise for slot in slots]).to(latents.device),
            min_snr_gamma=gamma or None,
        )

    def held_out(self, latents: Tensor, conditions: Conditions, source: torch.Generator) -> Tensor:
        """Return the squared error at one noise level in each of B equal ranges of levels."""
        num, process = len(latents), self.generator.process
        within = torch.rand(num, generator=source)  # anywhere in its range, always the same
        timesteps = process.times((torch.arange(num) + within) * process.num_train_steps / num)
        noise = torch.randn(*latents.shape, generator=source).to(latents.device)
        return diffusion_losses(self.generator, latents, conditions, timesteps, noise)
