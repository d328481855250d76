"""A generator that denoises step by step: a conditioner, a denoiser, a codec and a process."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generators.base import (
    Codec,
    Conditioner,
    Conditions,
    Denoiser,
    Output,
    Process,
    Prompt,
)
from generators.config import SamplingSettings
from generators.diffusion.samplers import decode, sample
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

        Raises GeneratorError for a source of another shape.
        """
        conditions = self.conditioner(prompts)
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
        return self.codec.to_values(images)

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
        folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, Any] = {}
        for part in (self.conditioner, self.denoiser, self.codec, self.process):
            index |= part.save(folder)
        if frozenset(index) in PIPELINES:
            name, more = PIPELINES[frozenset(index)]
            index |= {"_class_name": self.stock or name, **more}
        else:
            index["family"] = self.family
        (folder / "model_index.json").write_text(json.dumps(index))
        for path in folder.rglob("*.json"):
            # sorted and without the notes: equal models are equal files
            values = json.loads(path.read_text(encoding="utf-8"))
            plain = {key: values[key] for key in values if key not in NOTES}
            path.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for path in folder.rglob("*.safetensors"):  # safetensors lets the owner alone read them
            path.chmod((folder / "model_index.json").stat().st_mode)
