"""A family of another package: a prior picture in, a later one of the same patient out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.sample import Sample
from generators.simulated import Simulated
from tests.toys import mask


class PriorConditioner(mask.MaskConditioner):
    """A prompt's prior picture as one channel in -1 .. 1; none is black."""

    def _channel(self, prompt: Prompt) -> torch.Tensor:
        if "prior" not in prompt.images:
            return torch.full((1, mask.SIDE, mask.SIDE), -1.0)
        return torch.from_numpy(prompt.images["prior"].array[:1] / 127.5 - 1).float()


def likeness(sample: Sample, prompt: Prompt) -> float:
    """Correlate a sample with its prior, -1 .. 1: what the family's simulated raters see."""
    both = np.stack([sample.array[0].ravel(), prompt.images["prior"].array[0].ravel()])
    return float(np.nan_to_num(np.corrcoef(both)[0, 1]))


def is_near(sample: Sample, prompt: Prompt) -> bool:
    """Say whether the levels differ by less than 60 in the mean: what its judge says."""
    apart = sample.array[0].astype(float) - prompt.images["prior"].array[0]
    return bool(np.abs(apart).mean() < 60)


SIMULATED = Simulated("toy-prior/1", (-0.02, 0.02), likeness, "toy-prior's judge", is_near)


def load(folder: str | Path) -> DiffusionGenerator:
    """Open what `save` wrote."""
    return generator(UNet2DModel.from_pretrained(Path(folder) / "unet", use_safetensors=True))


def generator(unet: UNet2DModel) -> DiffusionGenerator:
    """Put the family's parts together around a network."""
    return replace(
        mask.generator(unet),
        family="toy-prior",
        conditioner=PriorConditioner(),
        reads=frozenset({"prior"}),
    )
