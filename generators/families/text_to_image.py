"""Family "text-to-image": modality and description to pixels, in the Stable Diffusion 1.x shape.

As MINIM describes it, modality and description are tokenised and encoded *separately* and joined
along the token axis, where the U-Net's cross-attention reads both. Each has its own fixed number of
tokens, so that no image depends on the length of another's text. Cross-attention is not masked:
padding tokens are read too, in training, in sampling and in the stock pipeline alike.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, CLIPTextModel
from transformers.utils import logging

from generators.base import Conditions, Denoiser, Prompt
from generators.codec import AutoencoderCodec
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import read_process
from generators.errors import GeneratorError

FAMILY = "text-to-image"
CHECKPOINT_FILES = [  # what is fetched of a hub repository: no pickles, no half-precision twins
    f"{folder}/{pattern}"
    for folder in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    for pattern in ("*.json", "*.txt", "*.safetensors")
]
KEPT_TEXTS = 256  # embeddings remembered between calls


class TextConditioner:
    """A frozen text encoder: a BERT (given the attention mask) or Stable Diffusion's CLIP."""

    def __init__(self, tokenizer: Any, text_encoder: Any) -> None:
        """Split the tokenizer's length: a quarter for the modality, the rest for the text."""
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        num_tokens = min(
            tokenizer.model_max_length, text_encoder.config.max_position_embeddings
        )  # 32: 8 + 24 tokens; CLIP's 77: 19 + 58
        self.modality_length = num_tokens // 4
        self.text_length = num_tokens - self.modality_length
        self._remembered = lru_cache(maxsize=KEPT_TEXTS)(self._embed)

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

    def forget(self) -> None:
        """Drop remembered embeddings: the text encoder has learned."""
        self._remembered.cache_clear()

    @torch.no_grad()
    def _embed(self, text: str, length: int, part: str) -> Tensor:
        return self._encode(text, length, part)

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

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write tokenizer and text encoder; return their `model_index.json` entries."""
        self.tokenizer("")  # forgets padding that its maker may have set: see `_embed`
        self.tokenizer.save_pretrained(folder / "tokenizer")
        with _quietly():
            self.text_encoder.save_pretrained(folder / "text_encoder")
        return {
            "tokenizer": ["transformers", type(self.tokenizer).__name__],
            "text_encoder": ["transformers", type(self.text_encoder).__name__],
        }


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' bars and reports out of the commands' output; we check what was read."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def load(folder_or_name: str | Path, unet: str | Path | None = None) -> DiffusionGenerator:
    """Open a diffusers folder or a hub repository, in float32 on the CPU.

    `unet` is a folder with a fine-tuned U-Net (or with one in its `unet` folder) to use instead.
    """
    folder = _fetched(folder_or_name)
    unet_folder = folder if unet is None else _fetched(unet)
    if (unet_folder / "unet").is_dir():
        unet_folder = unet_folder / "unet"
    with _quietly():
        return text_to_image(
            tokenizer=_opened(AutoTokenizer.from_pretrained, folder / "tokenizer"),
            text_encoder=_with_weights(AutoModel, folder / "text_encoder"),
            unet=_with_weights(UNet2DConditionModel, unet_folder),
            vae=_with_weights(AutoencoderKL, folder / "vae"),
            scheduler_config=_opened(DDIMScheduler.load_config, folder / "scheduler"),
        )


def _fetched(folder_or_name: str | Path) -> Path:
    """Return the folder itself, or that of a hub repository's files after fetching them."""
    if Path(folder_or_name).is_dir():
        return Path(folder_or_name)
    try:
        return Path(
            snapshot_download(
                str(folder_or_name), allow_patterns=CHECKPOINT_FILES, ignore_patterns=["*.fp16.*"]
            )
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise GeneratorError(
            f"{str(folder_or_name)!r} is no folder here, and could not be fetched from the hub "
            f"({type(error).__name__}). Give the folder of a diffusers checkpoint, or a hub name "
            "where there is a network."
        ) from error


def _opened(open_part: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """Return what is in `folder`, or say what is wrong with it."""
    needed = "Needed is this part of a Stable Diffusion 1.x style diffusers folder, in safetensors."
    if not folder.is_dir():
        raise GeneratorError(f"There is no folder {folder}. {needed}")
    try:
        return open_part(folder, **options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise GeneratorError(
            f"{folder} cannot be opened: {str(error).splitlines()[0]} {needed}"
        ) from error


def _with_weights(model_class: Any, folder: Path) -> Any:
    """Return the model in `folder`; a weight that is not there would be random, so it is refused.

    Except a BERT's pooler, which nothing here reads.
    """
    model, found = _opened(
        model_class.from_pretrained,
        folder,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = set(found["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        model.pooler = None
    elif missing:
        raise GeneratorError(
            f"{folder} lacks {len(missing)} of its weights, {min(missing)} among them. "
            "Fetch or save the checkpoint again."
        )
    return model.float()


def text_to_image(
    *, tokenizer: Any, text_encoder: Any, unet: Any, vae: Any, scheduler_config: dict[str, Any]
) -> DiffusionGenerator:
    """Put the parts of a Stable Diffusion 1.x style pipeline together, frozen."""
    if unet.config.out_channels != vae.config.latent_channels:
        raise GeneratorError(
            f"The U-Net makes {unet.config.out_channels} channels, but the autoencoder reads "
            f"{vae.config.latent_channels}. Take both from one checkpoint."
        )
    for part in (text_encoder, unet, vae):
        part.eval().requires_grad_(False)
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return DiffusionGenerator(
        family=FAMILY,
        conditioner=TextConditioner(tokenizer, text_encoder),
        denoiser=Denoiser(unet),
        codec=AutoencoderCodec(vae),
        process=read_process(scheduler_config),
        latent_shape=(unet.config.out_channels, height, width),
    )
