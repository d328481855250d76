"""A family of another package: a mask in, a picture that follows it out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import UNet2DModel

from generators.base import Conditions, Entries, Prompt
from generators.codec import PixelCodec
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import denoiser_of
from generators.diffusion.process import read_process

SIDE = 16
SCHEDULE = {"_class_name": "DDIMScheduler", "num_train_timesteps": 100, "clip_sample": False}


class MaskConditioner:
    """A prompt's mask as one channel: -1 outside, 1 inside; no mask is all outside."""

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return channels [B, 1, SIDE, SIDE]."""
        return Conditions.of(channels=torch.stack([self._channel(p) for p in prompts]))

    def unconditional(self, count: int) -> Conditions:
        """Return masks of nothing."""
        return self([Prompt("OCT", "")] * count)

    def to(self, device: torch.device | str) -> "MaskConditioner":
        """Return itself: there are no weights."""
        return self

    def save(self, folder: Path) -> Entries:
        """Write nothing."""
        return {}

    def _channel(self, prompt: Prompt) -> torch.Tensor:
        if "mask" not in prompt.images:
            return torch.full((1, SIDE, SIDE), -1.0)
        return torch.from_numpy((prompt.images["mask"].array > 0) * 2.0 - 1).float()


def load(folder: str | Path) -> DiffusionGenerator:
    """Open what `save` wrote."""
    return generator(UNet2DModel.from_pretrained(Path(folder) / "unet", use_safetensors=True))


def generator(unet: UNet2DModel) -> DiffusionGenerator:
    """Put a family's parts together around a network."""
    return DiffusionGenerator(
        family="toy-mask",
        conditioner=MaskConditioner(),
        denoiser=denoiser_of(unet.eval().requires_grad_(False)),
        codec=PixelCodec(),
        process=read_process(SCHEDULE),
        latent_shape=(1, SIDE, SIDE),
        reads=frozenset({"mask"}),
    )
