"""Family "text-to-image": modality and description to pixels, in the Stable Diffusion 1.x shape.

As MINIM describes it, modality and description are tokenised and encoded *separately* and joined
along the token axis, where the U-Net's cross-attention reads both. Each has its own fixed number of
tokens, so that no image depends on the length of another's text. Cross-attention is not masked:
padding tokens are read too, in training, in sampling and in the stock pipeline alike.
"""

import copy
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import AutoModel, CLIPTextModel

from generators.base import Conditions, Entries, Prompt
from generators.codec import AutoencoderCodec
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import denoiser_of
from generators.diffusion.process import read_process
from generators.errors import GeneratorError
from generators.families.parts import (
    autoencoder_in,
    fetched,
    latent_shape,
    opened,
    quietly,
    tokenizer_in,
    with_weights,
)

FAMILY = "text-to-image"
KEPT_TEXTS = 256  # embeddings remembered between calls
LENGTHS = "tokenizer/lengths.json"  # how many tokens each of PARTS has, where it is not the usual
PARTS = ("modality", "text")


class TextConditioner:
    """A frozen text encoder: a BERT (given the attention mask) or Stable Diffusion's CLIP."""

    def __init__(
        self, tokenizer: Any, text_encoder: Any, lengths: tuple[int, int] | None = None
    ) -> None:
        """Take how many tokens modality and text have; else a quarter is the modality's."""
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        num_tokens = min(
            tokenizer.model_max_length, text_encoder.config.max_position_embeddings
        )  # 32: 8 + 24 tokens; CLIP's 77: 19 + 58
        self.lengths = lengths
        quarter = num_tokens // 4
        self.modality_length = quarter if lengths is None else lengths[0]
        self.text_length = num_tokens - quarter if lengths is None else lengths[1]
        self._remembered = lru_cache(maxsize=KEPT_TEXTS)(torch.no_grad()(self._encode))

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return tokens [B, L, D]. Equal texts are encoded once, each in a pass of its own."""
        pairs = [(prompt.modality, prompt.text) for prompt in prompts]
        tokens_LD = {
            (modality, text): torch.cat(
                [
                    self._remembered(modality, self.modality_length, "modality"),
                    self._remembered(text, self.text_length, "text"),
                ]
            )
            for modality, text in dict.fromkeys(pairs)
        }
        return Conditions.of(tokens=torch.stack([tokens_LD[pair] for pair in pairs]))

    def read_of(self, text: str) -> str:
        """Return as many whole words of a text as are read: all of it where it fits."""
        words = text.split()
        for num_words in range(len(words), 0, -1):
            part = text if num_words == len(words) else " ".join(words[:num_words])
            if len(self.tokenizer(part).input_ids) <= self.text_length:
                return part
        return ""

    def unconditional(self, count: int) -> Conditions:
        """Return an empty modality with an empty text, `count` times."""
        return self([Prompt(modality="", text="")] * count)

    def with_gradients(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return what a call returns, computed anew, with gradients to the text encoder."""
        rows = [
            torch.cat(
                [
                    self._encode(prompt.modality, self.modality_length, "modality"),
                    self._encode(prompt.text, self.text_length, "text"),
                ]
            )
            for prompt in prompts
        ]
        return Conditions.of(tokens=torch.stack(rows))

    def reading(self, text_length: int) -> "TextConditioner":
        """Return one that reads so many tokens of text. Raises GeneratorError for too many."""
        most = self.text_encoder.config.max_position_embeddings - self.modality_length
        if not 3 <= text_length <= most:
            raise GeneratorError(
                f"text_length {text_length}: this text encoder has places for 3 to {most} tokens "
                f"of text beside {self.modality_length} of the modality."
            )
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.model_max_length = self.modality_length + text_length
        return TextConditioner(tokenizer, self.text_encoder, (self.modality_length, text_length))

    def forget(self) -> None:
        """Drop remembered embeddings: the text encoder has learned."""
        self._remembered.cache_clear()

    def _encode(self, text: str, length: int, part: str) -> Tensor:
        """Return the embeddings [length, D] of one text, padded; a longer text is refused."""
        token_ids = self.tokenizer(text).input_ids
        num_padding = length - len(token_ids)
        if num_padding < 0:
            raise GeneratorError(
                f"The {part} {text!r} is {len(token_ids)} tokens long, but this generator reads "
                f"{length}. Shorten it: what is cut off would be ignored."
            )
        # by hand: a tokenizer asked to pad remembers it, and would be saved with other bytes
        padding = [self.tokenizer.pad_token_id] * num_padding
        input_ids_1L = torch.tensor([token_ids + padding], device=self.text_encoder.device)
        mask_1L = torch.ones_like(input_ids_1L)
        mask_1L[:, len(token_ids) :] = 0
        # CLIP in Stable Diffusion is trained without a mask, a BERT always with one
        masked = not isinstance(self.text_encoder, CLIPTextModel)
        hidden_1LD: Tensor = self.text_encoder(
            input_ids_1L, attention_mask=mask_1L if masked else None
        ).last_hidden_state
        return hidden_1LD[0].float()

    def to(self, device: torch.device | str) -> "TextConditioner":
        """Move the text encoder."""
        self.text_encoder.to(device)
        self.forget()
        return self

    def save(self, folder: Path) -> Entries:
        """Write tokenizer and text encoder; return their `model_index.json` entries."""
        self.tokenizer("")  # forgets padding that its maker may have set: see `_embed`
        self.tokenizer.save_pretrained(folder / "tokenizer")
        if self.lengths is not None:
            (folder / LENGTHS).write_text(json.dumps(dict(zip(PARTS, self.lengths, strict=True))))
        with quietly():
            self.text_encoder.save_pretrained(folder / "text_encoder")
        return {
            "tokenizer": ["transformers", type(self.tokenizer).__name__],
            "text_encoder": ["transformers", type(self.text_encoder).__name__],
        }


def load(folder_or_name: str | Path, unet: str | Path | None = None) -> DiffusionGenerator:
    """Open a diffusers folder or a hub repository, in float32 on the CPU.

    `unet` is a folder with a fine-tuned U-Net (or with one in its `unet` folder) to use instead.
    """
    with quietly():
        return text_to_image(**parts_of(fetched(folder_or_name), unet))


def parts_of(folder: Path, unet: str | Path | None) -> dict[str, Any]:
    """Return the opened parts of a Stable Diffusion 1.x style folder, by name."""
    unet_folder = folder if unet is None else fetched(unet)
    if (unet_folder / "unet").is_dir():
        unet_folder = unet_folder / "unet"
    return {
        "tokenizer": tokenizer_in(folder / "tokenizer"),
        "text_encoder": with_weights(AutoModel, folder / "text_encoder"),
        "unet": with_weights(UNet2DConditionModel, unet_folder),
        "vae": autoencoder_in(folder / "vae"),
        "scheduler_config": opened(DDIMScheduler.load_config, folder / "scheduler"),
        "lengths": text_lengths(folder),
    }


def text_lengths(folder: Path) -> tuple[int, int] | None:
    """Return how many tokens modality and text have, where a folder says so."""
    path = folder / LENGTHS
    if not path.is_file():
        return None

    def read(folder: Path) -> tuple[int, int]:
        found = json.loads((folder / LENGTHS).read_text(encoding="utf-8"))
        return int(found["modality"]), int(found["text"])

    lengths: tuple[int, int] = opened(read, folder)
    return lengths


def text_to_image(
    *,
    tokenizer: Any,
    text_encoder: Any,
    unet: Any,
    vae: Any,
    scheduler_config: dict[str, Any],
    lengths: tuple[int, int] | None = None,
) -> DiffusionGenerator:
    """Put the parts of a Stable Diffusion 1.x style pipeline together, frozen."""
    denoiser = denoiser_of(unet)
    if denoiser.needs:
        raise GeneratorError(
            f"This U-Net wants {', '.join(sorted(denoiser.needs))} beside the text, which this "
            "family does not make. Is it SDXL's? Name the folder of its whole checkpoint."
        )
    if unet.config.in_channels == 2 * unet.config.out_channels:
        raise GeneratorError(
            f"This U-Net reads {unet.config.in_channels} channels and makes "
            f"{unet.config.out_channels}: it reads a prior image, too. Its family is "
            "counterfactual, whose folders name StableDiffusionInstructPix2PixPipeline."
        )
    for part in (text_encoder, unet, vae):
        part.eval().requires_grad_(False)
    return DiffusionGenerator(
        family=FAMILY,
        conditioner=TextConditioner(tokenizer, text_encoder, lengths),
        denoiser=denoiser,
        codec=AutoencoderCodec(vae),
        process=read_process(scheduler_config),
        latent_shape=latent_shape(unet, vae),
    )
