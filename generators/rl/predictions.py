"""How a policy is asked: settings of rollouts and of training, and many predictions at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from generators.base import Conditions
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig
from generators.sampling import predict


def rollout_settings(config: RLConfig, sampler: str = "ddim") -> SamplingSettings:
    """Return the settings that images are made with."""
    return SamplingSettings(
        num_steps=config.num_steps,
        guidance=config.guidance,
        sampler=sampler,
        batch_size=config.rollout_batch,
        dtype=config.rollout_dtype,
    )


def training_settings(config: RLConfig, guidance: float) -> SamplingSettings:
    """Return how predictions are made in training."""
    return SamplingSettings(
        num_steps=config.num_steps, guidance=guidance, dtype=config.training_dtype
    )


def micro_batches(rows: Tensor, micro_batch: int, together: int = 1) -> Iterator[Tensor]:
    """Yield row numbers, about `micro_batch` at a time, `together` neighbours never apart."""
    size = max(micro_batch // together, 1) * together
    if len(rows):  # torch splits nothing into one piece
        yield from rows.split(size)


@torch.no_grad()
def predictions(
    generator: DiffusionGenerator,
    config: RLConfig,
    x_t: Tensor,
    t_N: Tensor,
    conditions: Conditions,
    guidance: float = 1.0,
    *,
    batch: int = 32,
) -> Tensor:
    """Return predictions shaped like `x_t`, of the weights as they are now, `batch` at a time."""
    settings = training_settings(config, guidance)
    return torch.cat(
        [
            predict(generator, x_t[rows], t_N[rows], conditions.select(rows), settings)
            for rows in micro_batches(torch.arange(len(t_N)), batch)
        ]
    )
