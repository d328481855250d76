"""A generator that denoises step by step: a conditioner, a denoiser, a codec and a process.

How it samples is written once for every family. Tensor names carry shapes: B images; a name without
a suffix has the shape of a batch of latents.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from generators.base import (
    Codec,
    Conditioner,
    Conditions,
    Denoiser,
    Entries,
    Output,
    Process,
    Prompt,
    Trajectory,
)
from generators.config import SamplingSettings
from generators.diffusion.editing import KeptLatents, composed, kept_parts
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import (
    ComputeBatch,
    batches,
    fixed_shape,
    initial_noise,
    item_shape,
    repeat,
    sampler_of,
)
from generators.errors import GeneratorError

STOCK_PARTS = frozenset({"vae", "text_encoder", "tokenizer", "unet", "scheduler"})
_TWO_TEXTS = {"text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"}
_THREE_TEXTS = {*_TWO_TEXTS, "text_encoder_3", "tokenizer_3"}
# Which stock pipeline opens a folder with these parts, and what else it wants to be told.
PIPELINES: dict[frozenset[str], tuple[str, dict[str, Any]]] = {
    STOCK_PARTS: (
        "StableDiffusionPipeline",
        {
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
        },
    ),
    frozenset({"vae", *_TWO_TEXTS, "unet", "scheduler"}): (
        "StableDiffusionXLPipeline",
        {
            "force_zeros_for_empty_prompt": True,
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
        },
    ),
    frozenset({"vae", *_THREE_TEXTS, "transformer", "scheduler"}): (
        "StableDiffusion3Pipeline",
        {"feature_extractor": [None, None], "image_encoder": [None, None]},
    ),
}
NOTES = (  # what libraries write beside a configuration: where it came from, and who read it
    "_name_or_path",
    "name_or_path",
    "is_local",
    "local_files_only",
    "_diffusers_version",
    "transformers_version",
)


class Saved(Protocol):
    """A part of a generator that is kept in its folder."""

    def save(self, folder: Path) -> Entries:
        """Write it below `folder`; return its `model_index.json` entries."""
        ...


@dataclass
class DiffusionGenerator:
    """Conditions to pixels. Weights are frozen and in evaluation mode until someone trains them."""

    family: str
    conditioner: Conditioner
    denoiser: Denoiser
    codec: Codec
    process: Process
    latent_shape: tuple[int, ...]  # of one sample: channels, then spatial axes
    reads: frozenset[str] = frozenset()  # roles of condition images that the conditioner looks at
    stock: str | None = None  # the pipeline that opens it, where not the usual one of its parts

    @property
    def output(self) -> Output:
        """Return what `generate` makes."""
        return self.codec.output(self.latent_shape)

    @property
    def device(self) -> torch.device:
        """Return where the denoiser's weights are."""
        return next(self.denoiser.parameters()).device

    def condition(self, prompts: Sequence[Prompt]) -> Conditions:
        """Return one row a prompt; where all have a source image, its latents to start from.

        Where one has a mask of what may change, the pictures that stay are a part.

        Raises GeneratorError for a source of another shape.
        """
        conditions = self.conditioner(prompts)
        kept = kept_parts(prompts, self.output)
        if kept is not None:
            conditions = Conditions({**conditions.parts, "kept": kept.to(self.device)})
        sources = [prompt.images["source"] for prompt in prompts if "source" in prompt.images]
        if len(sources) < len(prompts) or "source" in self.reads:
            return conditions
        output, start = self.output, []
        for source in sources:  # each in a pass of its own
            shape = (source.array.shape[0], *output.shape[1:])
            if source.kind != output.kind or source.array.shape != shape:
                raise GeneratorError(
                    f"A source image is {source.kind} of {list(source.array.shape)}; this "
                    f"generator makes {output.kind} of {list(output.shape)}. Bring it to that "
                    "shape."
                )
            values = torch.from_numpy(source.array.astype(np.float32))
            if source.kind == "intensity" and source.array.dtype != np.float32:
                values = values / np.iinfo(source.array.dtype).max
            if source.kind == "intensity":
                values = self.codec.from_unit(values)
            values = values.expand(output.shape)
            with torch.no_grad():
                start.append(self.codec.encode(values[None].to(self.device)).float())
        return Conditions({**conditions.parts, "start": torch.cat(start)})

    @torch.inference_mode()
    def generate(
        self, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
    ) -> Tensor:
        """Return float32 samples [B, C, *spatial]; intensities in 0 .. 1."""
        latents = sample(self, conditions, seeds, settings)
        bfloat16 = settings.decoder_dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            images = decode(self, latents, settings.batch_size)
        images = self.codec.to_values(images)
        kept = conditions.parts.get("kept")
        return images if kept is None else composed(images, kept)

    def to(self, device: torch.device | str) -> "DiffusionGenerator":
        """Move all weights, and return this generator."""
        self.conditioner.to(device)
        self.denoiser.to(device)
        self.codec.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write a diffusers folder: equal weights give equal bytes.

        Where its parts are those of a stock pipeline, that one opens it too; otherwise
        `model_index.json` names the family and the folder opens through curate only.
        """
        parts = (self.conditioner, self.denoiser, self.codec, self.process)
        save_parts(folder, parts, family=self.family, stock=self.stock)


def save_parts(
    folder: Path, parts: Sequence[Saved], *, family: str, stock: str | None = None
) -> None:
    """Write a generator's parts and what opens them: a stock pipeline, or the family."""
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {}
    for part in parts:
        index |= part.save(folder)
    if frozenset(index) in PIPELINES:
        name, more = PIPELINES[frozenset(index)]
        index |= {"_class_name": stock or name, **more}
    else:
        index["family"] = family
    (folder / "model_index.json").write_text(json.dumps(index))
    for path in folder.rglob("*.json"):
        # sorted and without the notes: equal models are equal files
        values = json.loads(path.read_text(encoding="utf-8"))
        plain = {key: values[key] for key in values if key not in NOTES}
        path.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.rglob("*.safetensors"):  # safetensors lets the owner alone read them
        path.chmod((folder / "model_index.json").stat().st_mode)


@torch.no_grad()
def sample(
    generator: Trajectory,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
    *,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Return float32 latents [B, ...], one for each condition and seed.

    `on_step` is told after each step how many are done, of those taken x compute batches.
    """
    if settings.starts_from_source and "start" not in conditions.parts:
        raise GeneratorError(
            "--strength, --invert and --method start from an image, and these prompts have none."
        )
    latents = []
    steps_done = itertools.count(1)
    # with windows a compute batch is one of windows, of one image after the other
    at_once = settings.batch_size if settings.window is None else 1
    for batch in batches(generator, conditions, seeds, at_once):
        sampler = sampler_of(generator, batch, settings)
        kept = KeptLatents.of(generator, batch.conditions)
        noise = initial_noise(batch.seeds, item_shape(generator, batch.conditions))
        x_t = _start(generator, batch, noise.to(generator.device), settings)
        for step, t in enumerate(sampler.timesteps):
            if step < settings.first_step:
                continue
            prediction = predict(generator, x_t, repeat(t, x_t), batch.conditions, settings)
            x_t = sampler.step(prediction, step, x_t, batch.seeds)
            if kept is not None:
                following = [*sampler.timesteps, generator.process.end][step + 1]
                x_t = kept.blended(x_t, noise.to(x_t), repeat(following, x_t))
            if on_step is not None:
                on_step(next(steps_done))
        latents.append(x_t[: batch.num_images])
    return torch.cat(latents)


def _start(
    generator: Trajectory, batch: ComputeBatch, noise: Tensor, settings: SamplingSettings
) -> Tensor:
    """Return noise, or source images as they look at the first step's noise level."""
    if not settings.starts_from_source:
        return noise
    clean, process = batch.conditions.parts["start"], generator.process
    if settings.invert:
        return inverted(generator, clean, batch.conditions, settings)
    first = process.timesteps(settings.num_steps)[settings.first_step]
    return process.noised(clean, noise, repeat(first, noise))


def inverted(
    generator: Trajectory, clean: Tensor, conditions: Conditions, settings: SamplingSettings
) -> Tensor:
    """Return the noise of which deterministic sampling, unguided, makes these latents.

    DDIM's steps the other way round, from the sample to the first step's noise level (Song et al.
    2021, section 4.3): the more steps, the nearer.
    """
    plain = replace(settings, guidance=1.0, image_guidance=None)
    timesteps = generator.process.timesteps(settings.num_steps)[settings.first_step :]
    upwards = [generator.process.end, *reversed(timesteps)]
    x_t = clean
    for t, t_next in itertools.pairwise(upwards):
        asked = repeat(max(t, type(t)(0)), x_t)  # no network knows the end's -1
        prediction = predict(generator, x_t, asked, conditions, plain)
        x_t, _ = generator.process.step(prediction, x_t, repeat(t, x_t), repeat(t_next, x_t), 0.0)
    return x_t


@torch.no_grad()
def decode(generator: Trajectory, latents: Tensor, batch_size: int) -> Tensor:
    """Return images in the codec's range and unit, decoded in batches of one fixed shape."""
    images = []
    for rows, num_images in fixed_shape(len(latents), batch_size):
        images.append(generator.codec.decode(latents[rows])[:num_images])
    return torch.cat(images)
