"""Family "clinical": a patient's record and a mask to an image, in two or three dimensions.

Diffusion of voxels, v-prediction with zero terminal SNR (Lin et al. 2024), a quarter of the draws
at the terminal level: there, and nearly only there, a text says what a noisy image does not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from transformers import AutoModel

from generators.base import Conditions, Prompt
from generators.beginning import Beginning
from generators.clinical.config import ClinicalSettings
from generators.clinical.network import ClinicalDenoiser, ClinicalUNet
from generators.clinical.records import Field, FieldMap, read_field_map
from generators.codec import PixelCodec
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import read_process
from generators.errors import GeneratorError
from generators.families.clinical_text import READS, RecordConditioner, small_bert, vocabulary
from generators.families.parts import opened, quietly, tokenizer_in, with_weights
from generators.sample import Kind, Sample
from generators.training.config import TrainingConfig

FAMILY = "clinical"
RANGE = "codec.json"  # beside the parts: unit and range of the numbers
SCHEDULE = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 250,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "set_alpha_to_one": True,
    "clip_sample": True,
}
TRAINING = TrainingConfig(
    num_steps=2000,
    batch_size=8,
    micro_batch=8,
    learning_rate=1e-3,
    lr_schedule="cosine",
    warmup_steps=20,
    weight_decay=0.0,
    ema_decay=0.99,
    train_text_encoder=True,
    min_snr_gamma=0.0,  # it would weigh the terminal level by 0
    drop_conditions=0.0,
    drop_text=0.1,
    noisiest_share=0.25,
    noisy_share=0.25,
    validate_every=500,
    checkpoint_every=200,
)
LARGEST_PATCH = 64
MOST_VALUES = 24  # a field of words with more of them is a text


@dataclass
class SeenExamples:
    """What the examples are, looked at once."""

    kinds: set[tuple[Kind, int, int]] = field(default_factory=set)  # with channels and axes
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    labels: set[int] = field(default_factory=set)
    prompts: list[Prompt] = field(default_factory=list)  # without images

    def add(self, sample: Sample, prompt: Prompt) -> None:
        """Look at one; GeneratorError where it has no mask, or one of another grid."""
        mask = prompt.images.get("mask")
        if mask is None:
            raise GeneratorError(f"The image of {prompt.text[:60]!r} has no mask. Give each one.")
        if mask.spatial_shape != sample.spatial_shape:
            raise GeneratorError(
                f"An image of {list(sample.spatial_shape)} has a mask of "
                f"{list(mask.spatial_shape)}. Bring both to one grid."
            )
        self.shapes.append(sample.spatial_shape)
        self.kinds.add((sample.kind, len(sample.array), len(sample.spatial_shape)))
        self.labels |= set(np.unique(mask.array).tolist())
        self.prompts.append(replace(prompt, images={}))


@dataclass(frozen=True)
class ClinicalParts:
    """What a clinical generator is made of, however it makes its images; frozen."""

    conditioner: RecordConditioner
    network: Any  # a ClinicalUNet
    codec: PixelCodec

    def __post_init__(self) -> None:
        """Freeze the weights."""
        for part in (self.conditioner.text_encoder, self.network):
            part.eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Return the shape of a patch: channels, then spatial axes."""
        return (self.network.config.out_channels, *self.network.config.sample_size)


def create(settings: ClinicalSettings, beginning: Beginning) -> DiffusionGenerator:
    """Begin one for the labels, records and kind of the examples."""
    return _clinical(begun_parts(settings, beginning), read_process(SCHEDULE))


def begun_parts(settings: ClinicalSettings, beginning: Beginning) -> ClinicalParts:
    """Return parts with first weights, for the labels, records and kind of the examples."""
    seen = SeenExamples()
    for sample, prompt in beginning.examples:
        seen.add(sample, prompt)
    if len(seen.kinds) != 1:
        raise GeneratorError(
            f"The examples are {sorted(seen.kinds) or 'none'}: a clinical generator makes one "
            "kind, of one number of channels and axes. Choose some with --modality."
        )
    [(kind, channels, dims)] = seen.kinds
    smallest = [min(sides) for sides in zip(*seen.shapes, strict=True)]
    patch = settings.patch or tuple(min(side, LARGEST_PATCH) for side in smallest)
    if len(patch) != dims:
        raise GeneratorError(f"patch {patch} for examples of {dims} axes.")
    records = [prompt.record for prompt in seen.prompts if prompt.record]
    fields = read_field_map(Path(settings.fields)) if settings.fields else _own_words(records)
    texts = [
        fields.build(fields.clean(prompt.record)) if prompt.record else prompt.text
        for prompt in seen.prompts
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(beginning.seed)
        if settings.text_encoder is None:
            words = vocabulary(texts, settings.placebos)
            tokenizer, encoder = small_bert(words, settings)
        else:
            tokenizer = tokenizer_in(Path(settings.text_encoder))
            encoder = with_weights(AutoModel, Path(settings.text_encoder))
        network = ClinicalUNet(
            sample_size=list(patch),
            labels=len(seen.labels),
            units=list(settings.units),
            block_out_channels=list(settings.channels),
            text_width=encoder.config.hidden_size,
            out_channels=channels,
        )
    value_range = (settings.low, settings.high) if kind == "HU" else (0.0, 1.0)
    conditioner = RecordConditioner(
        tokenizer, encoder, fields, sorted(seen.labels), patch, settings.units, settings.placebos
    )
    return ClinicalParts(conditioner, network, PixelCodec(kind, value_range))


def _own_words(records: Sequence[Mapping[str, Any]]) -> FieldMap:
    """Return a field map for records that nobody wrote one for: each field says name and value."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    fields = []
    for name, found in values.items():
        plain = Field(name, "text").plain_name
        distinct = sorted({str(one) for one in found})
        if all(isinstance(one, int | float) for one in found):
            fields.append(Field(name, "number", clause=f"{plain} {{value}}"))
        elif len(distinct) <= MOST_VALUES and all(
            one.replace(" ", "").isalnum() for one in distinct
        ):
            fields.append(Field(name, "choice", values={v: f"{plain} {v}" for v in distinct}))
        else:
            fields.append(Field(name, "text", clause=f"{plain} {{value}}"))
    return FieldMap(tuple(fields))


def _clinical(parts: ClinicalParts, process: Any) -> DiffusionGenerator:
    """Put the parts together."""
    return ClinicalGenerator(
        family=FAMILY,
        conditioner=parts.conditioner,
        denoiser=ClinicalDenoiser(parts.network),
        codec=parts.codec,
        process=process,
        latent_shape=parts.latent_shape,
        reads=frozenset({"mask"}),
    )


def in_windows(
    settings: SamplingSettings, patch: Sequence[int], conditions: Conditions
) -> SamplingSettings:
    """Return the settings with windows as large as the patch, where images are larger than it."""
    spatial = conditions.parts["channels"].shape[2:]
    if settings.window is None and any(s > p for s, p in zip(spatial, patch, strict=True)):
        return replace(settings, window=tuple(patch))
    return settings


def write_range(folder: Path, codec: Any) -> None:
    """Write beside a generator's parts what its numbers are."""
    folder.mkdir(parents=True, exist_ok=True)
    says = {"unit": codec.unit, "value_range": list(codec.value_range)}
    (folder / RANGE).write_text(json.dumps(says))


class ClinicalGenerator(DiffusionGenerator):
    """A diffusion generator of any size, whose folder also says what its numbers are."""

    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return float32 samples as large as their masks, larger ones by windows of the patch."""
        settings = in_windows(settings, self.latent_shape[1:], conditions)
        return super().generate(conditions, seeds, settings)

    def save(self, folder: Path) -> None:
        """Write a folder that `load` opens: equal weights give equal bytes."""
        write_range(folder, self.codec)
        super().save(folder)


def load(folder: str | Path) -> DiffusionGenerator:
    """Open what `save` wrote, in float32 on the CPU."""
    parts = opened_parts(Path(folder))
    with quietly():
        scheduler = opened(DDIMScheduler.load_config, Path(folder) / "scheduler")
    return _clinical(parts, read_process(scheduler))


def opened_parts(folder: Path) -> ClinicalParts:
    """Return the parts that a generator's `save` wrote, in float32 on the CPU."""
    with quietly():
        tokenizer = tokenizer_in(folder / "tokenizer")
        encoder = with_weights(AutoModel, folder / "text_encoder")
        network = with_weights(ClinicalUNet, folder / "unet")
    reads = json.loads((folder / READS).read_text(encoding="utf-8"))
    says = json.loads((folder / RANGE).read_text(encoding="utf-8"))
    conditioner = RecordConditioner(
        tokenizer,
        encoder,
        FieldMap.from_json(reads["fields"]),
        reads["labels"],
        network.config.sample_size,
        network.config.units,
        reads["placebos"],
    )
    low, high = says["value_range"]
    return ClinicalParts(conditioner, network, PixelCodec(says["unit"], (low, high)))
