"""Family "counterfactual": a patient's prior image and what changed in words, to the later image.

As InstructPix2Pix (Brooks et al. 2023) and BiomedJourney have it, a text-to-image network whose
first convolution also reads the prior's latents. The new weights begin at 0: before the first step
the network draws what it drew. A prompt without a prior shows it zeros, so that single images
teach it, too. The prior's latents are not scaled, since the stock pipeline does not scale them.

Begun from nothing it is small, of grey pixels without an autoencoder: for procedural patients.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizer

from generators.base import Codec, Conditions, Entries, Output, Prompt
from generators.beginning import Beginning
from generators.codec import AutoencoderCodec, PixelCodec
from generators.config import setting
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import UNet
from generators.diffusion.process import read_process
from generators.errors import GeneratorError
from generators.families.parts import (
    fetched,
    opened,
    quietly,
    size_of,
    tokenizer_in,
    with_weights,
)
from generators.families.text_to_image import TextConditioner, parts_of, text_lengths
from generators.framing import picture_in
from generators.sample import Sample
from generators.training.config import TrainingConfig

FAMILY = "counterfactual"
STOCK = "StableDiffusionInstructPix2PixPipeline"
ROLE = "prior"
PIXELS = "pixels.json"  # beside the parts, where there is no autoencoder
KEPT_PRIORS = 64  # latents remembered between calls
TRAINING = TrainingConfig(
    num_steps=2000,
    batch_size=24,
    micro_batch=24,
    learning_rate=1.5e-3,
    lr_schedule="cosine",
    warmup_steps=50,
    ema_decay=0.99,
    drop_conditions=0.05,
    drop_words=0.05,
    drop_images=0.05,
)
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": False,
}
WORDS = (
    *("new", "resolved", "worse", "improved", "no", "change", "right", "left", "pleural", "lung"),
    *("effusion", "cardiomegaly", "nodule", "opacity", "lesion", "heart", "enlarged", "normal"),
    *("size", "is", "the", "a", "in", "on", "of", "and", "there", "with", "without", "chest"),
    *("acute", "cardiopulmonary", "process", "patchy", "present", "seen", "edema", "cxr"),
    *("consolidation", "pneumonia", "atelectasis", "pneumothorax", "fracture", "devices"),
    *("support", "mediastinum", "enlarged", "other", "cardiomediastinum"),
)


@dataclass(frozen=True)
class CounterfactualSettings:
    """How a counterfactual generator is begun."""

    text_length: int | None = setting(None, "Tokens of text that are read; none: as the base does.")
    side: int = setting(32, "From nothing: side of the images, in pixels.")
    width: int = setting(40, "From nothing: channels of the network's first level.")


class UnshuffleCodec(PixelCodec):
    """Grey pixels as latents, each block of `block` x `block` pixels one position."""

    def __init__(self, block: int = 4) -> None:
        """Take the block's side."""
        super().__init__()
        self.block = block

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return the grey picture that latents of this shape become."""
        return Output(self.unit, (1, *(side * self.block for side in latent_shape[1:])))

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images [B, 1, H, W] in 0 .. 1, clamped."""
        return super().decode(functional.pixel_shuffle(latents, self.block))

    def encode(self, images: Tensor) -> Tensor:
        """Return float32 latents in -1 .. 1."""
        return functional.pixel_unshuffle(super().encode(images), self.block)

    def save(self, folder: Path) -> Entries:
        """Write the block's side; there are no weights."""
        (folder / PIXELS).write_text(json.dumps({"block": self.block}))
        return {}


class PriorConditioner:
    """The text as tokens, the prior's latents as channels; no prior is zeros."""

    def __init__(self, text: TextConditioner, codec: Codec, network: Any) -> None:
        """Take the parts; the network's configuration says how large latents are."""
        self.text, self.codec, self.network = text, codec, network
        self._device = torch.device("cpu")
        self._remembered = lru_cache(maxsize=KEPT_PRIORS)(self._latents)

    @property
    def text_encoder(self) -> nn.Module:
        """Return the text's encoder, which may learn."""
        encoder: nn.Module = self.text.text_encoder
        return encoder

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return tokens and channels; each prior is encoded in a pass of its own."""
        return self._with_channels(self.text(prompts), prompts)

    def with_gradients(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return what a call returns, with gradients to the text encoder."""
        return self._with_channels(self.text.with_gradients(prompts), prompts)

    def unconditional(self, count: int) -> Conditions:
        """Return an empty text and no prior, `count` times."""
        return self([Prompt("", "")] * count)

    def forget(self) -> None:
        """Drop remembered embeddings: the text encoder has learned."""
        self.text.forget()

    def _with_channels(self, text: Conditions, prompts: Sequence[Prompt]) -> Conditions:
        rows = []
        for prompt in prompts:
            prior = prompt.images.get(ROLE)
            if prior is None:
                rows.append(torch.zeros(self.latent_shape, device=self._device))
            else:
                array = np.ascontiguousarray(prior.array)
                rows.append(self._remembered(array.tobytes(), array.shape, array.dtype.name))
        return Conditions({**text.parts, "channels": torch.stack(rows)})

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width, as the network's configuration has them now."""
        return self.network.config.out_channels, *size_of(self.network)

    @torch.no_grad()
    def _latents(self, content: bytes, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Return the unscaled latents of a prior, brought to the generator's frame."""
        prior = Sample(np.frombuffer(content, dtype).reshape(shape))
        image = picture_in(prior, self.codec.output(self.latent_shape).shape, ROLE)
        values = self.codec.from_unit(image)[None].to(self._device)
        return self.codec.unscaled(values)[0].float()

    def to(self, device: torch.device | str) -> "PriorConditioner":
        """Move the text encoder; the codec is moved by whom it belongs to."""
        self.text.to(device)
        self._device = torch.device(device)
        self._remembered.cache_clear()
        return self

    def save(self, folder: Path) -> Entries:
        """Write tokenizer and text encoder; return their `model_index.json` entries."""
        return self.text.save(folder)


class PriorUNet(UNet):
    """A U-Net whose first convolution also reads the prior: trained in full beside adapters."""

    whole = ("conv_in",)

    @staticmethod
    def widened(unet: UNet2DConditionModel) -> UNet2DConditionModel:
        """Return a copy whose first convolution reads twice the channels, the new ones by 0."""
        channels = unet.config.out_channels
        if unet.config.in_channels != channels:
            raise GeneratorError(
                f"The U-Net reads {unet.config.in_channels} channels and makes {channels}: it has "
                "been widened already."
            )
        wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": 2 * channels})
        state = unet.state_dict()
        weight = state["conv_in.weight"]
        state["conv_in.weight"] = torch.cat([weight, torch.zeros_like(weight)], dim=1)
        wide.load_state_dict(state)
        return wide


def load(folder_or_name: str | Path) -> DiffusionGenerator:
    """Open what `save` wrote, or a folder of InstructPix2Pix; in float32 on the CPU."""
    folder = fetched(folder_or_name)
    pixels = folder / PIXELS
    with quietly():
        if not pixels.is_file():
            return generator(**parts_of(folder, None))
        unet = with_weights(UNet2DConditionModel, folder / "unet")
        encoder = with_weights(BertModel, folder / "text_encoder")
        tokenizer = tokenizer_in(folder / "tokenizer")
        schedule = opened(DDIMScheduler.load_config, folder / "scheduler")
    block = int(json.loads(pixels.read_text())["block"])
    text = TextConditioner(tokenizer, encoder, text_lengths(folder))
    return _together(text, unet, UnshuffleCodec(block), schedule)


def create(settings: CounterfactualSettings, beginning: Beginning) -> DiffusionGenerator:
    """Widen the base's network by the prior's latents; without a base begin small, from nothing."""
    base = beginning.base
    if base is None:
        return _small(settings, beginning.seed)
    if not isinstance(base, DiffusionGenerator) or not isinstance(
        base.conditioner, TextConditioner
    ):
        raise GeneratorError(
            f"Family {base.family!r} cannot be widened by a prior. Take a version of family "
            "text-to-image: `curate generators list`."
        )
    text = base.conditioner
    if settings.text_length is not None:
        text = text.reading(settings.text_length)
    return _together(
        text, PriorUNet.widened(base.denoiser.network), base.codec, dict(base.process.config)
    )


def generator(
    *,
    tokenizer: Any,
    text_encoder: Any,
    unet: Any,
    vae: Any,
    scheduler_config: dict[str, Any],
    lengths: tuple[int, int] | None,
) -> DiffusionGenerator:
    """Put the parts of an InstructPix2Pix-style pipeline together, frozen."""
    text = TextConditioner(tokenizer, text_encoder, lengths)
    return _together(text, unet, AutoencoderCodec(vae), scheduler_config)


def _together(
    text: TextConditioner, unet: Any, codec: Codec, schedule: dict[str, Any]
) -> DiffusionGenerator:
    channels = unet.config.out_channels
    if unet.config.in_channels != 2 * channels:
        raise GeneratorError(
            f"The U-Net reads {unet.config.in_channels} channels and makes {channels}: it reads no "
            "prior. Open it as text-to-image, or widen it: `curate train-generator --family "
            "counterfactual --base FOLDER`."
        )
    for part in (text.text_encoder, unet):
        part.eval().requires_grad_(False)
    conditioner = PriorConditioner(text, codec, unet)
    _, height, width = conditioner.latent_shape
    return DiffusionGenerator(
        family=FAMILY,
        conditioner=conditioner,
        denoiser=PriorUNet(unet),
        codec=codec,
        process=read_process(schedule),
        latent_shape=(channels, height, width),
        reads=frozenset({ROLE}),
        stock=STOCK,
    )


def _small(settings: CounterfactualSettings, seed: int) -> DiffusionGenerator:
    """Return a small untrained generator; its words are frozen random vectors."""
    block, length = 4, settings.text_length or 30
    if settings.side % (2 * block) or settings.width % 8:
        raise GeneratorError(
            f"side {settings.side}, width {settings.width}: both must be multiples of 8."
        )
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,;:-/()'", *dict.fromkeys(WORDS)]
    vocabulary += [*letters, *(f"##{letter}" for letter in letters)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        tokenizer = BertTokenizer(str(path), model_max_length=4 + length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        words = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=64,
                num_hidden_layers=0,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=4 + length,
            ),
            add_pooling_layer=False,
        )
        nn.init.normal_(words.embeddings.word_embeddings.weight)
        nn.init.normal_(words.embeddings.position_embeddings.weight, std=0.3)
        unet = UNet2DConditionModel(
            sample_size=settings.side // block,
            in_channels=2 * block**2,
            out_channels=block**2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(settings.width, settings.width * 8 // 5 // 8 * 8),
            layers_per_block=1,
            cross_attention_dim=64,
            attention_head_dim=8,
            norm_num_groups=8,
        )
    text = TextConditioner(tokenizer, words, (4, length))
    return _together(text, unet, UnshuffleCodec(block), SCHEDULE)
