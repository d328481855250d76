"""A release's images made again from its manifest alone: version, prompt, seed and settings."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from curate.errors import CurateError
from curate.export.manifest import ManifestImage, ManifestPrompt
from curate.generate import FLUSH_IMAGES, images_of
from curate.generators_store import load_version
from curate.pixels import array_of, png_bytes, to_rgb_tensor, to_uint8
from curate.workspace import Workspace
from generators.base import Generator, Prompt
from generators.config import SamplingSettings


def images_made_again(ws: Workspace, images: Sequence[ManifestImage]) -> Iterator[NDArray[Any]]:
    """Yield the pixels of each image in order; neighbours of one version share batches.

    Raises StoreError when the workspace lacks a generator version or a condition image.
    """
    generator: Generator | None = None
    loaded_id = ""
    for (version_id, _), same in groupby(images, key=_how_made):
        if generator is None or version_id != loaded_id:
            generator, loaded_id = load_version(ws, version_id), version_id
        group = list(same)
        for start in range(0, len(group), FLUSH_IMAGES):
            part = group[start : start + FLUSH_IMAGES]
            conditions = generator.conditioner([_prompt_of(ws, image.prompt) for image in part])
            settings = SamplingSettings.from_json(part[0].settings)
            yield from to_uint8(
                images_of(generator, conditions, [image.seed for image in part], settings)
            )


def write_images(
    ws: Workspace,
    images: Sequence[ManifestImage],
    folder: Path,
    advance: Callable[[int], None],
) -> None:
    """Write the images, made again, below an empty folder under the manifest's names."""
    if folder.exists() and any(folder.iterdir()):
        raise CurateError(f"{folder} is not empty. Name a new folder for the images.")
    grouped = sorted(images, key=lambda image: repr(_how_made(image)))  # each version opened once
    for image, array in zip(grouped, images_made_again(ws, grouped), strict=True):
        path = folder / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(array))
        advance(1)


def _how_made(image: ManifestImage) -> tuple[str, tuple[tuple[str, Any], ...]]:
    return image.version_id, tuple(sorted(image.settings.items()))


def _prompt_of(ws: Workspace, prompt: ManifestPrompt) -> Prompt:
    conditions = {
        role: to_rgb_tensor(array_of(ws.store.get(sha))) for role, sha in prompt.conditions.items()
    }
    return Prompt(prompt.modality, prompt.text, prompt.label, prompt.record, conditions)
