"""A planted truth: how bright a generator's images are, at seeds that no rollout has used."""

from torch import Tensor

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample


def brightness_of_fresh_images(
    generator: DiffusionGenerator, prompts: list[Prompt], sampler: str = "dpm++"
) -> Tensor:
    """Return the brightness [64] of deterministic samples; equal calls compare pairwise."""
    conditions = generator.conditioner(prompts * 16)
    settings = SamplingSettings(num_steps=5, sampler=sampler, batch_size=32)
    latents = sample(generator, conditions, range(64), settings)
    return decode(generator, latents, 32).mean(dim=(1, 2, 3))


def standard_errors(gained_B: Tensor) -> float:
    """Return the mean gain in standard errors."""
    return float(gained_B.mean() / (gained_B.std() / len(gained_B) ** 0.5))
