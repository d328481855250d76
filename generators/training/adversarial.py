"""Learning against a critic, as DGM-VLC's pix2pix does: least squares, squared error, correlation.

Shapes: B images; a name without a suffix is [B, C, *spatial].
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from generators.base import Conditions, Trainable
from generators.errors import GeneratorError
from generators.training.config import TrainingConfig
from generators.training.lesson import Slot
from generators.training.weights import Descent, Weights

SQUARED_ERROR, CORRELATION = 2.0, 0.5  # weights in DGM-VLC, beside 1 for the critic's opinion
LEAST_SPREAD = 1e-6  # of an image that a correlation is asked of


class OneStep(Trainable, Protocol):
    """A generator that makes latents in one step, with the critic that it learns against."""

    critic: nn.Module

    def made_of(self, noise: Tensor, conditions: Conditions) -> Tensor:
        """Return the latents that noise becomes."""
        ...


class Adversarial:
    """LSGAN (Mao et al. 2017) + 2 x squared error + 0.5 x (1 - r^2), r Pearson's correlation.

    Generator and critic take their steps at once, each against the other as it was before; each
    has an optimiser of its own.
    """

    def __init__(self, generator: OneStep, config: TrainingConfig) -> None:
        """Free the critic's weights; refuse settings of noise levels, which there are none of."""
        levels = ("noisiest_share", "noisy_share", "input_perturbation", "prediction_type")
        if given := [name for name in levels if getattr(config, name)]:
            raise GeneratorError(
                f"Family {generator.family!r} makes a sample in one step and has no noise levels: "
                f"omit --{given[0].replace('_', '-')}."
            )
        self.generator = generator
        critic = generator.critic.requires_grad_(True)
        # it learns against the last weights, not against averages, and is not averaged itself
        self.rival = Weights(
            generator,
            {"critic.": critic},
            Descent(
                learning_rate=config.learning_rate,
                max_grad_norm=config.max_grad_norm,
                ema_decay=0.0,
                betas=(config.beta1, config.beta2),
                epsilon=config.epsilon,
            ),
        )

    def draw_time(self, source: torch.Generator) -> float:
        """Return 0: there are no timesteps."""
        return 0.0

    def losses(self, latents: Tensor, conditions: Conditions, slots: Sequence[Slot]) -> Tensor:
        """Return the generator's and the critic's loss [B] in one; each gets its own gradient."""
        critic, masks = self.generator.critic, conditions.parts["channels"]
        noise = torch.stack([slot.noise for slot in slots]).to(latents.device)
        made = self.generator.made_of(noise, conditions).float()
        # through the critic as it is, but not into it
        still = {name: weight.detach() for name, weight in critic.named_parameters()}
        believed_B = _mean(functional_call(critic, still, (made, masks)).sub(1).square())
        doubted_B = _mean(critic(made.detach(), masks).square())
        trusted_B = _mean(critic(latents, masks).sub(1).square())
        return believed_B + likeness_losses(made, latents) + (doubted_B + trusted_B) / 2

    def held_out(self, latents: Tensor, conditions: Conditions, source: torch.Generator) -> Tensor:
        """Return how unlike the image what is made of its mask and text is; no critic is asked."""
        noise = torch.randn(*latents.shape, generator=source).to(latents.device)
        return likeness_losses(self.generator.made_of(noise, conditions), latents)


def likeness_losses(made: Tensor, real: Tensor) -> Tensor:
    """Return 2 x mean squared error + 0.5 x (1 - r^2) of each image [B]."""
    off_B = _mean((made - real).square())
    return SQUARED_ERROR * off_B + CORRELATION * (1 - correlations(made, real).square())


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """Return Pearson's correlation of each two images over all their voxels [B]: -1 .. 1."""
    a, b = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (one, other))
    together_B = (a * b).mean(dim=1)
    spreads_B = (a.square().mean(dim=1) * b.square().mean(dim=1)).clamp(min=LEAST_SPREAD**2).sqrt()
    return together_B / spreads_B


def _mean(values: Tensor) -> Tensor:
    """Return the mean of each image's values [B]."""
    return values.flatten(1).mean(dim=1)
