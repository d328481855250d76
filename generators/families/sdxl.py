"""Family "sdxl": text to pixels in the shape of Stable Diffusion XL, two text encoders and sizes.

Modality and description are one text, which both encoders read; the stock pipeline gives the same
images for it.
"""

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from generators.base import Conditions
from generators.codec import AutoencoderCodec
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import denoiser_of
from generators.diffusion.process import read_process
from generators.families.parts import (
    autoencoder_in,
    fetched,
    latent_shape,
    opened,
    quietly,
    tokenizer_in,
    with_weights,
)
from generators.families.texts import TextEncoder, TextsConditioner

FAMILY = "sdxl"
LENGTH = 77  # tokens that CLIP reads


class SDXLConditioner(TextsConditioner):
    """Tokens of both encoders side by side, the second one's pooled text, and the image's size."""

    def __init__(self, first: TextEncoder, second: TextEncoder, size: tuple[int, int]) -> None:
        """Take height and width in pixels: what is asked for is an uncropped image of that size."""
        super().__init__([first, second])
        self.first, self.second = first, second
        self.size = size

    def embed(self, text: str) -> dict[str, Tensor]:
        """Return the parts of one text, one row each."""
        tokens_1LD, _ = self.first.penultimate(text)
        more_1LD, pooled_1D = self.second.penultimate(text)
        height, width = self.size
        return {
            "tokens": torch.cat([tokens_1LD, more_1LD], dim=-1),
            "pooled": pooled_1D,
            "time_ids": pooled_1D.new_tensor([[height, width, 0, 0, height, width]]),
        }

    def unconditional(self, count: int) -> Conditions:
        """Return zeros for the text, as SDXL was trained, and the same size."""
        parts = super().unconditional(count).parts
        zeros = {name: torch.zeros_like(parts[name]) for name in ("tokens", "pooled")}
        return Conditions({**parts, **zeros})


def load(folder_or_name: str | Path) -> DiffusionGenerator:
    """Open a diffusers folder or a hub repository, in float32 on the CPU."""
    folder = fetched(folder_or_name)
    with quietly():
        tokenizers = [tokenizer_in(folder / part) for part in ("tokenizer", "tokenizer_2")]
        first = with_weights(CLIPTextModel, folder / "text_encoder")
        second = with_weights(CLIPTextModelWithProjection, folder / "text_encoder_2")
        unet = with_weights(UNet2DConditionModel, folder / "unet")
        vae = autoencoder_in(folder / "vae")
        scheduler = opened(DDIMScheduler.load_config, folder / "scheduler")
    for part in (first, second, unet, vae):
        part.eval().requires_grad_(False)
    shape, codec = latent_shape(unet, vae), AutoencoderCodec(vae)
    _, height, width = codec.output(shape).shape
    return DiffusionGenerator(
        family=FAMILY,
        conditioner=SDXLConditioner(
            TextEncoder(tokenizers[0], first, LENGTH),
            TextEncoder(tokenizers[1], second, LENGTH),
            (height, width),
        ),
        denoiser=denoiser_of(unet),
        codec=codec,
        process=read_process(scheduler),
        latent_shape=shape,
    )
