"""Items to pixels: prompts encoded once, one fixed compute shape, halved when memory runs out.

Tensor names carry shapes: B images, H x W pixels, C channels.
"""

import gc
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.production.environment import describe_environment
from curate.production.patience import Note
from curate.production.plan import Batch
from curate.samples.formats import decode
from curate.samples.pixels import levels
from curate.workspace import Workspace
from db import queries
from generators.base import Conditions, Generator
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.memory import lacks_memory
from generators.sample import Sample

KEPT_CONDITIONS = 256  # prompts whose tensors are remembered; a plan goes prompt by prompt

LABEL_ROLE = "mask"  # its pixels are classes; those of the other roles are intensities


@dataclass(frozen=True)
class Pixels:
    """A batch of images on the generator's device; nothing has waited for it yet."""

    levels_BHWC: Tensor  # uint8; what stands where an image is no numbers has no meaning
    is_number_B: Tensor  # bool: every pixel of the image is a number
    environment: dict[str, Any]  # what they were made in; one object for many batches


class Maker:
    """One open generator that turns items into pixels."""

    def __init__(
        self,
        generator: Generator,
        settings: SamplingSettings,
        note: Note,
    ) -> None:
        """Take a generator on its device."""
        self.generator, self.settings, self.note = generator, settings, note
        self._conditions: OrderedDict[str, Conditions] = OrderedDict()
        self.environment = describe_environment(generator.device)

    @property
    def batch_size(self) -> int:
        """Return the compute batch's shape as it is now."""
        return self.settings.batch_size

    def make(self, batch: Batch) -> Pixels:
        """Return the items' pixels in order; a prompt is encoded once for its items in a row.

        Out of memory, the shape is halved for these and all later items. Raises CurateError when
        not even one image has room.
        """
        while True:
            try:
                images_BCHW = self._images(batch)
                return Pixels(levels(images_BCHW), _are_numbers(images_BCHW), self.environment)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
            self._halve()  # out here the failed batch's tensors are no longer held

    def _images(self, batch: Batch) -> Tensor:
        conditions = self._conditions_of(batch)
        seeds = [item.seed for item in batch.items]
        return unchecked_images(self.generator, conditions, seeds, self.settings)

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise CurateError(
                f"No memory for even one image on {self.generator.device}. Close what else uses "
                "it, try --dtype bfloat16, or take a larger device."
            )
        halved = self.batch_size // 2
        self.note("out-of-memory", batch_size=self.batch_size, halved_to=halved)
        self.settings = replace(self.settings, batch_size=halved)
        self.environment = describe_environment(self.generator.device, compute_batch_size=halved)
        gc.collect()
        if self.generator.device.type == "cuda":
            torch.cuda.empty_cache()

    def _conditions_of(self, batch: Batch) -> Conditions:
        new = [name for name in batch.prompts if name not in self._conditions]
        if new:
            prompts = [batch.prompts[name] for name in new]
            rows = conditions_of(self.generator, prompts, self.settings)
            self._conditions |= {name: rows.select([row]) for row, name in enumerate(new)}
        joined = Conditions.join([self._conditions[item.prompt_id] for item in batch.items])
        while len(self._conditions) > KEPT_CONDITIONS:
            self._conditions.popitem(last=False)
        return joined


def conditions_of(
    generator: Generator, prompts: Sequence[PromptValue], settings: SamplingSettings
) -> Conditions:
    """Return one row a prompt, with latents to start from only where the settings start there."""
    conditions = generator.condition(prompts)
    if not settings.starts_from_source:
        return conditions.without("start")
    if "start" not in conditions.parts:
        raise CurateError(
            f"A prompt, {prompts[0].text!r} among them, has no source image, and --strength and "
            "--invert start from one. Give it one in the sheet's column `source`."
        )
    return conditions


@torch.inference_mode()
def unchecked_images(
    generator: Generator,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
) -> Tensor:
    """Return float32 images [B, C, H, W], one a seed; in [0, 1] where they are numbers."""
    return generator.generate(conditions, seeds, settings)


def images_of(
    generator: Generator,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
) -> Tensor:
    """Return float32 images [B, C, H, W] in [0, 1], one a seed, in order.

    Raises CurateError for pixels that are not numbers: half precision or a broken training.
    """
    images_BCHW = unchecked_images(generator, conditions, seeds, settings)
    broken_B = ~_are_numbers(images_BCHW)
    if broken_B.any():
        raise no_numbers(int(broken_B.sum()), len(seeds), seeds[int(broken_B.nonzero()[0])])
    return images_BCHW


def no_numbers(num_broken: int, of: int, seed: int) -> CurateError:
    """Return the error for pixels that are no numbers."""
    return CurateError(
        f"{num_broken} of {of} images have pixels that are no numbers (first: "
        f"seed {seed}). Try --dtype float32, or an earlier generator version."
    )


def _are_numbers(images_BCHW: Tensor) -> Tensor:
    return torch.isfinite(images_BCHW).flatten(1).all(dim=1)


def prompt_values(ws: Workspace, prompt_ids: Sequence[str]) -> dict[str, PromptValue]:
    """Return stored prompts by id as the generators take them, condition images loaded."""
    rows = queries.prompts.prompts_by_id(ws.session, prompt_ids)
    files = queries.prompts.conditions_of(ws.session, prompt_ids)
    missing = [name for name in prompt_ids if name not in rows]
    if missing:
        raise CurateError(f"No prompt {missing[0][:12]}. Run `curate doctor`.")
    return {name: _prompt_value(ws, row, files.get(name, {})) for name, row in rows.items()}


def prompt_value(ws: Workspace, prompt_id: str) -> PromptValue:
    """Return one stored prompt as the generators take it, condition images loaded."""
    return prompt_values(ws, [prompt_id])[prompt_id]


def _prompt_value(ws: Workspace, row: Any, files: dict[str, str]) -> PromptValue:
    images = {role: condition_image(ws.store.get(sha), role) for role, sha in files.items()}
    return PromptValue(row.modality, row.text, row.label, row.record, images)


def condition_image(encoded: bytes, role: str) -> Sample:
    """Return an image file as generators take it.

    The numbers of a grey mask that was imported are classes, though its file does not say so.
    """
    sample = decode(encoded)
    if role == LABEL_ROLE and sample.kind == "intensity" and len(sample.array) == 1:
        return replace(sample, kind="labels")
    return sample
