"""Family "sd3": text to pixels in the shape of Stable Diffusion 3, a transformer and flow matching.

Modality and description are one text, which two CLIPs and, where the checkpoint has one, a T5 read;
the stock pipeline gives the same images for it.
"""

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, T5EncoderModel

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

FAMILY = "sd3"
CLIP_LENGTH, T5_LENGTH = 77, 256  # tokens read


class SD3Conditioner(TextsConditioner):
    """Both CLIPs' tokens side by side, then the T5's; both CLIPs' pooled texts."""

    def __init__(
        self, first: TextEncoder, second: TextEncoder, third: TextEncoder | None, width: int
    ) -> None:
        """Take the encoders and the tokens' width; without a T5 its tokens are zeros."""
        super().__init__([first, second, third])
        self.first, self.second, self.third = first, second, third
        self.width = width

    def embed(self, text: str) -> dict[str, Tensor]:
        """Return the parts of one text, one row each."""
        first_1LD, first_pooled_1D = self.first.penultimate(text)
        second_1LD, second_pooled_1D = self.second.penultimate(text)
        clip_1LD = torch.cat([first_1LD, second_1LD], dim=-1)
        if self.third is None:
            t5_1LD = clip_1LD.new_zeros(1, T5_LENGTH, self.width)
        else:
            t5_1LD = self.third.last(text)
        padded_1LD = functional.pad(clip_1LD, (0, self.width - clip_1LD.shape[-1]))
        return {
            "tokens": torch.cat([padded_1LD, t5_1LD], dim=1),
            "pooled": torch.cat([first_pooled_1D, second_pooled_1D], dim=-1),
        }


def load(folder_or_name: str | Path) -> DiffusionGenerator:
    """Open a diffusers folder or a hub repository, in float32 on the CPU."""
    folder = fetched(folder_or_name)
    with quietly():
        first, second = (
            TextEncoder(
                tokenizer_in(folder / f"tokenizer{ending}"),
                with_weights(CLIPTextModelWithProjection, folder / f"text_encoder{ending}"),
                CLIP_LENGTH,
            )
            for ending in ("", "_2")
        )
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        third = None  # some checkpoints say that they go without it
        if index.get("text_encoder_3", [None])[0] is not None:
            t5 = with_weights(T5EncoderModel, folder / "text_encoder_3")
            third = TextEncoder(tokenizer_in(folder / "tokenizer_3"), t5, T5_LENGTH)
        transformer = with_weights(SD3Transformer2DModel, folder / "transformer")
        vae = autoencoder_in(folder / "vae")
        scheduler = opened(DDIMScheduler.load_config, folder / "scheduler")
    encoders = [one.encoder for one in (first, second, third) if one is not None]
    for part in (*encoders, transformer, vae):
        part.eval().requires_grad_(False)
    width = transformer.config.joint_attention_dim
    return DiffusionGenerator(
        family=FAMILY,
        conditioner=SD3Conditioner(first, second, third, width),
        denoiser=denoiser_of(transformer),
        codec=AutoencoderCodec(vae),
        process=read_process(scheduler),
        latent_shape=latent_shape(transformer, vae),
    )
