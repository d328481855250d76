"""What goes into a generator for an item and comes out: prompts, noise, numbers as files hold them.

Tensor names carry shapes: B images, H x W pixels, C channels.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.samples.formats import decode
from curate.workspace import Workspace
from db import queries
from db.store import FileStore
from generators.base import Conditions, Generator, Trainable
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.diffusion.editing import begun_from_prior
from generators.sample import Kind, Sample
from generators.seeds import hashed_seed

LABEL_ROLE = "mask"  # its pixels are classes; those of the other roles are intensities


@dataclass(frozen=True)
class Pixels:
    """A batch of images on the generator's device; nothing has waited for it yet."""

    levels: tuple[Tensor, ...]  # [C, *spatial] each, as `stored_levels`; no meaning if not finite
    is_finite_B: Tensor  # bool: no pixel of the image is NaN or infinite
    kind: Kind
    ends: tuple[float, float] | None  # of the HU that the generator knows; None: of no HU, or any
    prompts: tuple[PromptValue, ...]  # of the images: a condition image may say where they lie
    environment: dict[str, Any]  # what they were made in; one object for many batches


def noise_seeds(
    prompt_ids: Sequence[str], seeds: Sequence[int], settings: SamplingSettings
) -> list[int]:
    """Return what each item's noise is drawn from: its seed, or prompt and seed where settings say.

    Paired, the same seed under another prompt is nearly the same picture; two versions of one
    prompt have equal noise either way.
    """
    if not settings.own_noise:
        return list(seeds)
    pairs = zip(prompt_ids, seeds, strict=True)
    return [hashed_seed(f"prompt {prompt_id} seed {seed}") for prompt_id, seed in pairs]


def alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the places of equal keys together, in order."""
    together: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        together[key].append(place)
    return list(together.values())


def shapes_given(prompt: PromptValue) -> Hashable:
    """Return the shapes of a prompt's condition images: only equal ones share a compute batch."""
    return tuple((role, image.array.shape) for role, image in prompt.images.items())


def conditions_of(
    generator: Generator, prompts: Sequence[PromptValue], settings: SamplingSettings
) -> Conditions:
    """Return one row a prompt, with latents to start from only where the settings start there."""
    if settings.method != "instruct":
        prompts = [begun_from_prior(prompt, generator.output) for prompt in prompts]
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
def images_of(
    generator: Generator,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
) -> Tensor:
    """Return float32 samples [B, C, *spatial] as `Generator.generate`, one a seed, in order.

    Raises CurateError for NaN or infinite pixels: half precision or a broken training.
    """
    images = generator.generate(conditions, seeds, settings)
    broken_B = ~are_finite(images)
    if broken_B.any():
        raise no_numbers(int(broken_B.sum()), len(seeds), seeds[int(broken_B.nonzero()[0])])
    return images


def stored_levels(images: Tensor, kind: Kind) -> Tensor:
    """Return generated numbers [B, C, *spatial] as files hold them, where they are.

    Intensities of 0 .. 1 become uint8, HU int16, classes int32 that fit in uint16.
    """
    if kind == "intensity":
        return (images * 255).round().clamp(0, 255).byte()
    if kind == "HU":
        return images.round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
    return images.round().clamp(0, 2**16 - 1).to(torch.int32)


def ends_of(generator: Generator) -> tuple[float, float] | None:
    """Return the least and the largest HU that a generator's codec has, where it says them."""
    codec = generator.codec if isinstance(generator, Trainable) else None
    return codec.value_range if codec is not None and codec.unit == "HU" else None


def share_at(ends: tuple[float, float], levels: Tensor) -> float:
    """Return the share of stored voxels at or beyond either end: what was clipped, 0 .. 1."""
    low, high = map(round, ends)
    return float(((levels <= low) | (levels >= high)).float().mean())


def sample_of(levels: Tensor, kind: Kind, prompt: PromptValue) -> Sample:
    """Return stored levels [C, *spatial] as a sample.

    It lies where a condition image of its own shape lies: its mask, else another.
    """
    array = levels.cpu().numpy()
    array = array.astype(np.uint16) if kind == "labels" else array
    roles = sorted(prompt.images, key=lambda role: (role != LABEL_ROLE, role))
    for image in (prompt.images[role] for role in roles):
        if image.spatial_shape == array.shape[1:]:
            return Sample(array, kind, image.spacing_mm, image.affine)
    return Sample(array, kind)


def samples_of(
    generator: Generator,
    prompts: Sequence[PromptValue],
    seeds: Sequence[int],
    settings: SamplingSettings,
) -> list[Sample]:
    """Return generated samples as files hold them, one a prompt and a seed of noise, in order.

    Those whose condition images have other shapes are made apart.
    """
    kind, made = generator.output.kind, dict[int, Sample]()
    for places in alike(map(shapes_given, prompts)):
        asked = [prompts[place] for place in places]
        conditions = conditions_of(generator, asked, settings)
        images = images_of(generator, conditions, [seeds[place] for place in places], settings)
        for place, prompt, levels in zip(places, asked, stored_levels(images, kind), strict=True):
            made[place] = sample_of(levels, kind, prompt)
    return [made[place] for place in range(len(prompts))]


def no_numbers(num_broken: int, of: int, seed: int) -> CurateError:
    """Return the error for NaN or infinite pixels."""
    return CurateError(
        f"{num_broken} of {of} images have NaN or infinite pixels (first: "
        f"seed {seed}). Try --dtype float32, or an earlier generator version."
    )


def are_finite(images: Tensor) -> Tensor:
    """Return for each image [B] whether no pixel of it is NaN or infinite."""
    return torch.isfinite(images).flatten(1).all(dim=1)


class StoredImages(Mapping[str, Sample]):
    """Condition images by role, read when one looks at them: those of many prompts take no room."""

    def __init__(
        self,
        store: FileStore,
        files: Mapping[str, str],
        shown: Callable[[Sample], Sample] = lambda image: image,
    ) -> None:
        """Take the files' SHA-256s by role, and how an image is `shown` once it is read."""
        self._store, self._files, self._shown = store, files, shown

    def __getitem__(self, role: str) -> Sample:
        """Read one."""
        return self._shown(condition_image(self._store.get(self._files[role]), role))

    def __contains__(self, role: object) -> bool:
        """Say whether there is one in this role, unread."""
        return role in self._files

    def __iter__(self) -> Iterator[str]:
        """Yield the roles."""
        return iter(self._files)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._files)


def prompt_values(
    ws: Workspace, prompt_ids: Sequence[str], *, loaded: bool = True
) -> dict[str, PromptValue]:
    """Return stored prompts by id as the generators take them, their condition images `loaded`.

    Else these are read when one looks at them.
    """
    rows = queries.prompts.prompts_by_id(ws.session, prompt_ids)
    files = queries.prompts.conditions_of(ws.session, prompt_ids)
    missing = [name for name in prompt_ids if name not in rows]
    if missing:
        raise CurateError(f"No prompt {missing[0][:12]}. Run `curate doctor`.")
    return {
        name: PromptValue(
            row.modality,
            row.text,
            row.label,
            row.record,
            dict(images) if loaded else images,
        )
        for name, row in rows.items()
        for images in [StoredImages(ws.store, files.get(name, {}))]
    }


def prompt_value(ws: Workspace, prompt_id: str) -> PromptValue:
    """Return one stored prompt as the generators take it, condition images loaded."""
    return prompt_values(ws, [prompt_id])[prompt_id]


def condition_image(encoded: bytes, role: str) -> Sample:
    """Return an image file as generators take it.

    The numbers of a grey mask that was imported are classes, though its file does not say so.
    """
    sample = decode(encoded)
    if role == LABEL_ROLE and sample.kind == "intensity" and len(sample.array) == 1:
        return replace(sample, kind="labels")
    return sample
