"""Images made again from version, prompt, seed and settings: a release's, or lost files."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from curate.errors import USER_ERRORS, CurateError
from curate.production.images import condition_image, noise_seeds, prompt_values, samples_of
from curate.production.versions import load_version
from curate.progress import progress
from curate.release.manifest import ManifestImage, ManifestPrompt, read_manifest
from curate.samples.formats import encode
from curate.samples.marks import marked
from curate.workspace import Workspace
from db import queries
from db.models import Image
from generators.acceleration import accelerate
from generators.base import Generator, Prompt
from generators.config import SamplingSettings
from generators.families.elsewhere import is_from_elsewhere
from generators.sample import Sample

FROM_ELSEWHERE = "made elsewhere: nothing here can make them again"
PART_IMAGES = 64  # made at once: whole compute batches where their size divides it


def images_made_again(ws: Workspace, images: Sequence[ManifestImage]) -> Iterator[Sample]:
    """Yield each image in order; neighbours of one version share batches.

    Raises StoreError when the workspace lacks a generator version or a condition image.
    """
    generator: Generator | None = None
    loaded_id = ""
    for (version_id, _), same in groupby(images, key=_how_made):
        if generator is None or version_id != loaded_id:
            generator, loaded_id = load_version(ws, version_id), version_id
        group = list(same)
        for start in range(0, len(group), PART_IMAGES):
            part = group[start : start + PART_IMAGES]
            settings = SamplingSettings.from_json(part[0].settings)
            prompts = [_prompt_of(ws, image.prompt) for image in part]
            of = [image.prompt.id for image in part]
            seeds = noise_seeds(of, [image.seed for image in part], settings)
            yield from samples_of(generator, prompts, seeds, settings)


def make_release_again(ws: Workspace, release: Path, out: Path | None) -> str:
    """Write a release's images, made from their seeds, to `out`; say what was done."""
    if out is None:
        raise CurateError("--from-manifest needs --out, a new folder for the images.")
    listed = read_manifest(release).images
    images = [image for image in listed if not is_from_elsewhere(image.settings)]
    others = len(listed) - len(images)
    if not images:
        raise CurateError(f"All {others} images of {release} were {FROM_ELSEWHERE}.")
    with progress(len(images), "images made again") as advance:
        write_images(ws, images, out, advance)
    left_out = f" {others} were {FROM_ELSEWHERE}." if others else ""
    return f"{len(images)} images made again in {out}. Compare: `curate export --verify`.{left_out}"


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
    for image, sample in zip(grouped, images_made_again(ws, grouped), strict=True):
        path = folder / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = encode(sample).content
        path.write_bytes(marked(content) if image.is_marked else content)
        advance(1)


def remake_files(
    ws: Workspace, hashes: Sequence[str], advance: Callable[[int], None]
) -> dict[str, str]:
    """Make lost files of synthetic images again from their rows; keep those with the same bytes.

    Returns for each that could not be kept why not.
    """
    together: dict[str, list[tuple[Image, dict[str, Any]]]] = defaultdict(list)
    problems = dict.fromkeys(hashes, "no row says how it was made")
    for image, environment in queries.images.made_images_of_files(ws.session, hashes):
        if is_from_elsewhere(image.settings):
            problems[image.file_sha256] = (
                f"{FROM_ELSEWHERE}; the same `curate import --synthetic` restores it"
            )
            continue
        together[repr(_how_made_here(image, environment))].append((image, environment))
    for rows in together.values():
        settings, device = _how_made_here(*rows[0])[1:]
        images = [image for image, _ in rows]
        try:
            generator = load_version(ws, images[0].version_id or "").to(device)
            accelerate(generator, settings)
            for start in range(0, len(images), PART_IMAGES):
                part = images[start : start + PART_IMAGES]
                problems |= _keep_if_same(ws, generator, part, settings)
                advance(len(part))
        except USER_ERRORS as error:
            problems |= {image.file_sha256: str(error) for image in images}
    return {sha256: problem for sha256, problem in problems.items() if problem}


def sample_again(ws: Workspace, image: Image) -> Sample:
    """Return a synthetic image made again as its row says, in the compute shape that it had.

    Raises CurateError of one that was made elsewhere.
    """
    if is_from_elsewhere(image.settings):
        raise CurateError(f"This is one of the images {FROM_ELSEWHERE}.")
    environments = queries.runs.environments(ws.session, {image.environment_id or ""})
    details = [row.details for row in environments.values()]
    settings, device = _how_made_here(image, details[0] if details else {})[1:]
    generator = load_version(ws, image.version_id or "").to(device)
    accelerate(generator, settings)
    return _made_from_rows(ws, generator, [image], settings)[0]


def _made_from_rows(
    ws: Workspace, generator: Generator, images: Sequence[Image], settings: SamplingSettings
) -> list[Sample]:
    values = prompt_values(ws, list(dict.fromkeys(image.prompt_id for image in images)))
    prompts = [values[image.prompt_id] for image in images]
    of = [image.prompt_id for image in images]
    seeds = noise_seeds(of, [image.seed or 0 for image in images], settings)
    return samples_of(generator, prompts, seeds, settings)


def _how_made_here(
    image: Image, environment: dict[str, Any]
) -> tuple[str | None, SamplingSettings, str]:
    """Return version, settings with the compute shape that it really had, and device."""
    settings = SamplingSettings.from_json(image.settings or {})
    shape = environment.get("compute_batch_size", settings.batch_size)
    on_gpu = environment.get("device") == "cuda" and torch.cuda.is_available()
    return image.version_id, replace(settings, batch_size=shape), "cuda" if on_gpu else "cpu"


def _keep_if_same(
    ws: Workspace,
    generator: Generator,
    images: Sequence[Image],
    settings: SamplingSettings,
) -> dict[str, str]:
    samples = _made_from_rows(ws, generator, images, settings)
    files = [encode(sample).content for sample in samples]
    same = [
        hashlib.sha256(file).hexdigest() == image.file_sha256
        for file, image in zip(files, images, strict=True)
    ]
    ws.store.put_many([file for file, is_same in zip(files, same, strict=True) if is_same])
    problem = "made again here it has other bytes: another device or other library versions"
    return {
        image.file_sha256: "" if is_same else problem
        for image, is_same in zip(images, same, strict=True)
    }


def _how_made(image: ManifestImage) -> tuple[str, tuple[tuple[str, Any], ...]]:
    return image.version_id, tuple(sorted(image.settings.items()))


def _prompt_of(ws: Workspace, prompt: ManifestPrompt) -> Prompt:
    conditions = {
        role: condition_image(ws.store.get(sha), role) for role, sha in prompt.conditions.items()
    }
    return Prompt(prompt.modality, prompt.text, prompt.label, prompt.record, conditions)
