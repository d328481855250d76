"""Family "translation": an image of any modality to the one modality that it was trained on.

After MIDiffusion, in pixels. It learns from images of the target modality alone: each stands for
its own source, in a contrast drawn at random. No source is seen before it is to be translated.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel

from generators.base import Conditions, Entries, Prompt
from generators.beginning import Beginning
from generators.codec import PixelCodec
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import read_process
from generators.errors import GeneratorError
from generators.families.parts import opened, quietly, with_weights
from generators.sample import Sample
from generators.training.config import TrainingConfig
from generators.translation.config import TranslationSettings
from generators.translation.denoiser import FILE, TranslationDenoiser, num_shown

FAMILY = "translation"
SOURCE = "source"
# pixels without noise are exactly reached, and the first step starts from pure noise
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "set_alpha_to_one": True,
    "timestep_spacing": "trailing",
}
TRAINING = TrainingConfig(
    num_steps=2000,
    learning_rate=1e-3,
    lr_schedule="cosine",
    ema_decay=0.99,
    min_snr_gamma=0.0,
    drop_conditions=0.1,
    warmup_steps=20,
)


class SourceConditioner:
    """The source image of each prompt as channels: its pixels, and that there is one."""

    def __init__(self, size: int) -> None:
        """Take the side of the images in pixels."""
        self.size = size

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return channels [B, 2, H, W] in -1 .. 1; a prompt without a source shows nothing."""
        rows = [
            torch.cat([pixels, torch.ones_like(pixels)])
            if (pixels := self.pixels(prompt)) is not None
            else torch.zeros(2, self.size, self.size)
            for prompt in prompts
        ]
        return Conditions.of(channels=torch.stack(rows))

    def pixels(self, prompt: Prompt) -> torch.Tensor | None:
        """Return a prompt's source [1, H, W] in -1 .. 1, or None where it has none."""
        if SOURCE not in prompt.images:
            return None
        image: Sample = prompt.images[SOURCE]
        shape = (1, self.size, self.size)
        if image.kind != "intensity" or image.array.shape != shape:
            raise GeneratorError(
                f"A source is {image.kind} of {list(image.array.shape)}; this translator reads "
                f"intensities of {list(shape)}. `curate translate` brings images to that shape."
            )
        values = torch.from_numpy(image.array.astype("float32"))
        if image.array.dtype.kind == "u":
            values = values / float(2 ** (8 * image.array.dtype.itemsize) - 1)
        if not bool(values.isfinite().all()):
            raise GeneratorError(
                "A source image has NaN or infinite pixels. Leave it out, or fix it."
            )
        return values.clamp(0, 1) * 2 - 1

    def unconditional(self, count: int) -> Conditions:
        """Return no source, `count` times."""
        return Conditions.of(channels=torch.zeros(count, 2, self.size, self.size))

    def to(self, device: torch.device | str) -> "SourceConditioner":
        """Return itself: there are no weights."""
        return self

    def save(self, folder: Path) -> Entries:
        """Write nothing: the network knows its size."""
        return {}


@dataclass
class Translator(DiffusionGenerator):
    """A diffusion generator whose samples may start from their sources, too (SDEdit)."""

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt; where all have a source, its pixels to start from."""
        conditions = self.conditioner(prompts)
        channels = conditions.parts["channels"]
        if not bool((channels[:, 1] == 1).all()):
            return conditions
        return Conditions({**conditions.parts, "start": channels[:, :1]})


def load(folder: str | Path) -> Translator:
    """Open a folder that `save` wrote, in float32 on the CPU."""
    folder = Path(folder)
    path = folder / FILE
    if not path.is_file():
        raise GeneratorError(
            f"{folder} is not a translator: it has no {FILE}, and maps need pixels, not another "
            "family's latents. Make one: `curate train-generator --family translation`."
        )
    with quietly():
        network = with_weights(UNet2DModel, folder / "unet")
        scheduler = opened(DDIMScheduler.load_config, folder / "scheduler")
    settings = TranslationSettings.from_json(json.loads(path.read_text(encoding="utf-8")))
    return _assembled(network, settings, scheduler)


def create(settings: TranslationSettings, beginning: Beginning) -> Translator:
    """Begin an untrained translator; equal seeds give equal weights."""
    if beginning.base is not None:
        raise GeneratorError(
            "A translator is begun from nothing: maps need pixels. Omit --version and --base."
        )
    attention = len(settings.channels) > 1  # at the coarsest level, where it is cheap
    plain = len(settings.channels) - attention
    with torch.random.fork_rng():
        torch.manual_seed(beginning.seed)
        network = UNet2DModel(
            sample_size=settings.size // settings.fold,
            in_channels=(1 + num_shown(settings)) * settings.fold**2,
            out_channels=settings.fold**2,
            layers_per_block=settings.layers,
            block_out_channels=settings.channels,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attention,
            up_block_types=("AttnUpBlock2D",) * attention + ("UpBlock2D",) * plain,
            attention_head_dim=16,
            norm_num_groups=8,
        )
    return _assembled(network, settings, SCHEDULE)


def _assembled(network: Any, settings: TranslationSettings, scheduler: Any) -> Translator:
    process = read_process(scheduler)
    denoiser = TranslationDenoiser(network, settings, process)
    denoiser.eval().requires_grad_(False)
    size = network.config.sample_size * settings.fold
    return Translator(
        family=FAMILY,
        conditioner=SourceConditioner(size),
        denoiser=denoiser,
        codec=PixelCodec(),
        process=process,
        latent_shape=(1, size, size),
        reads=frozenset({SOURCE}),
    )
