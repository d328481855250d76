"""Family "clinical-gan": a patient's record and a mask to an image in one step, in 2-D and 3-D.

DGM-VLC's other back end: least squares against a critic, squared error and correlation. What it
makes comes from text, mask and noise alone, which makes it the cross-check of what a text does in
family "clinical". There is no trajectory: it improves by being filtered, and by learning from its
images that people rated well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from generators.base import (
    Codec,
    Conditioner,
    Conditions,
    Denoiser,
    Entries,
    Output,
    Prompt,
)
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.clinical.critic import PatchCritic
from generators.clinical.network import ClinicalDenoiser
from generators.config import SamplingSettings
from generators.diffusion.generator import save_parts
from generators.diffusion.samplers import batches, initial_noise, item_shape, repeat
from generators.diffusion.windows import blended
from generators.errors import GeneratorError
from generators.families.clinical import (
    ClinicalParts,
    begun_parts,
    in_windows,
    opened_parts,
    write_range,
)
from generators.families.parts import quietly, with_weights
from generators.training.adversarial import Adversarial
from generators.training.config import TrainingConfig

FAMILY = "clinical-gan"
CRITIC = "critic"  # the folder of its weights
CRITIC_LEVELS = 2  # each halves the sides: a part sees 18 voxels a side
TIME = 0.0  # what the network's timestep always is
TRAINING = TrainingConfig(
    num_steps=2000,
    batch_size=8,
    micro_batch=8,
    learning_rate=1e-3,
    lr_schedule="cosine",
    warmup_steps=20,
    beta1=0.5,
    weight_decay=0.0,
    ema_decay=0.99,
    train_text_encoder=True,
    min_snr_gamma=0.0,
    drop_conditions=0.0,
    drop_text=0.1,
    validate_every=500,
    checkpoint_every=200,
)


def create(settings: ClinicalSettings, beginning: Beginning) -> "ClinicalGan":
    """Begin one for the labels, records and kind of the examples."""
    parts = begun_parts(settings, beginning)
    config = parts.network.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(beginning.seed)
        critic = PatchCritic(
            len(config.sample_size),
            config.labels,
            list(config.block_out_channels[-CRITIC_LEVELS:]),
            config.out_channels,
        )
    return _clinical_gan(parts, critic)


def load(folder: str | Path) -> "ClinicalGan":
    """Open what `save` wrote, in float32 on the CPU."""
    with quietly():
        critic = with_weights(PatchCritic, Path(folder) / CRITIC)
    return _clinical_gan(opened_parts(Path(folder)), critic)


def _clinical_gan(parts: ClinicalParts, critic: nn.Module) -> "ClinicalGan":
    """Put the parts together."""
    return ClinicalGan(
        conditioner=parts.conditioner,
        denoiser=ClinicalDenoiser(parts.network),
        codec=parts.codec,
        critic=critic.eval().requires_grad_(False),
        latent_shape=parts.latent_shape,
    )


@dataclass
class ClinicalGan:
    """Records and masks to images, by one call of the network on noise as large as the mask."""

    conditioner: Conditioner
    denoiser: Denoiser
    codec: Codec
    critic: nn.Module  # what it learns against; makes nothing
    latent_shape: tuple[int, ...]  # of a patch: channels, then spatial axes
    family: str = FAMILY
    reads: frozenset[str] = frozenset({"mask"})

    @property
    def output(self) -> Output:
        """Return what `generate` makes."""
        return self.codec.output(self.latent_shape)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.denoiser.parameters()).device

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt."""
        return self.conditioner(prompts)

    def made_of(self, noise: Tensor, conditions: Conditions) -> Tensor:
        """Return the latents [B, C, *spatial] that noise of that shape becomes."""
        made: Tensor = self.denoiser(noise, repeat(TIME, noise), conditions)
        return made

    @torch.inference_mode()
    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return float32 samples as large as their masks, larger ones by blended windows.

        However many sampling steps the settings name, there is one. GeneratorError for settings
        that need several.
        """
        if settings.is_guided or settings.starts_from_source or settings.eta:
            raise GeneratorError(
                f"Family {self.family!r} makes a sample in one step: there is nothing to guide or "
                "to start from. Omit --guidance, --image-guidance, --strength, --invert, --method."
            )
        settings = in_windows(settings, self.latent_shape[1:], conditions)
        # with windows a compute batch is one of windows, of one image after the other
        at_once = settings.batch_size if settings.window is None else 1
        made = []
        for batch in batches(self, conditions, seeds, at_once):
            noise = initial_noise(batch.seeds, item_shape(self, batch.conditions)).to(self.device)
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16"
            ):
                made.append(self._whole(noise, batch.conditions, settings)[: batch.num_images])
        return self.codec.to_values(self.codec.decode(torch.cat(made).float()))

    def objective(self, config: TrainingConfig) -> Adversarial:
        """Return by what it learns."""
        return Adversarial(self, config)

    def to(self, device: torch.device | str) -> "ClinicalGan":
        """Move all weights, and return this generator."""
        self.conditioner.to(device)
        self.denoiser.to(device)
        self.codec.to(device)
        self.critic.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write a folder that `load` opens: equal weights give equal bytes."""
        write_range(folder, self.codec)
        save_parts(folder, (self.conditioner, self.denoiser, _Kept(self.critic)), family=FAMILY)

    def _whole(self, noise: Tensor, conditions: Conditions, settings: SamplingSettings) -> Tensor:
        """Return the latents of whole images: of larger ones each voxel is its windows' mean."""
        if settings.window is None:
            return self.made_of(noise, conditions)
        return blended(
            lambda x, t, about: self.made_of(x, about),
            noise,
            repeat(TIME, noise),
            conditions,
            window=settings.window,
            overlap=settings.overlap,
            batch_size=settings.batch_size,
        )


@dataclass(frozen=True)
class _Kept:
    """The critic as a part of the folder: a training that goes on needs it."""

    critic: nn.Module

    def save(self, folder: Path) -> Entries:
        """Write it; return its `model_index.json` entry."""
        self.critic.save_pretrained(folder / CRITIC, safe_serialization=True)  # type: ignore[operator]
        return {CRITIC: [PatchCritic.__module__, PatchCritic.__name__]}
