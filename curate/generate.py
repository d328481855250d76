"""Mass production: a plan of items x a generator version -> files and image rows, resumable.

An item is (version, prompt, seed, settings); its key is unique in the database, and what is done is
what has a row. The same plan again makes nothing; a plan of more makes only what is missing.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from itertools import islice
from typing import Any

import torch

from curate.errors import CurateError
from curate.generators_store import load_version
from curate.pixels import array_of, pixels_hash, png_bytes, to_rgb_tensor, to_uint8
from curate.workspace import Workspace
from db import queries, queries_generate
from db.models import Environment, GeneratorVersion, Image, Prompt, Run
from generators.base import Conditions, Generator
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.sampling import decode, sample

FLUSH_IMAGES = 64  # rows and files are made durable in batches of about this many


@dataclass(frozen=True)
class Item:
    """One planned image."""

    index: int
    prompt_id: str
    seed: int


@dataclass(frozen=True)
class Generated:
    """What one call of `run_plan` did."""

    run_id: str
    planned: int
    already: int
    made: int


def plan_run(
    ws: Workspace,
    version: GeneratorVersion,
    prompts: Sequence[Prompt],
    *,
    count: int,
    first_seed: int = 0,
    settings: SamplingSettings,
) -> Run:
    """Return the run of `count` images a prompt, seeds `first_seed` and up; one row a plan."""
    if not prompts:
        raise CurateError("No prompt to generate from. Give --prompts FILE or --prompt TEXT.")
    if count < 1:
        raise CurateError(f"--count {count}: at least 1 image a prompt is needed.")
    prompt_ids = list(dict.fromkeys(prompt.id for prompt in prompts))
    plan: dict[str, Any] = {
        "version_id": version.id,
        "prompt_ids": prompt_ids,
        "count": count,
        "first_seed": first_seed,
        "settings": settings.to_json(),
    }
    run = Run(id=queries.json_hash(plan), num_items=len(prompt_ids) * count, **plan)
    return queries_generate.get_or_add_run(ws.session, run)


def item_of(run: Run, index: int) -> Item:
    """Return item `index` of the plan: prompt by prompt, seed by seed."""
    prompt_index, offset = divmod(index, run.count)
    return Item(index, run.prompt_ids[prompt_index], run.first_seed + offset)


def settings_hash(settings: dict[str, Any]) -> str:
    """Return the hash that tells one set of sampling settings from another."""
    return queries.json_hash(settings)


def item_key(version_id: str, prompt_id: str, seed: int, settings: dict[str, Any]) -> str:
    """Return the key of one image: equal keys are the same image."""
    return queries.json_hash([version_id, prompt_id, seed, settings])


def missing_items(ws: Workspace, run: Run) -> Iterator[Item]:
    """Yield the items of the plan that no row has, in plan order: one range scan a prompt."""
    for prompt_index, prompt_id in enumerate(run.prompt_ids):
        done = queries.seeds_done(
            ws.session,
            version_id=run.version_id,
            prompt_id=prompt_id,
            settings_hash=settings_hash(run.settings),
            low=run.first_seed,
            high=run.first_seed + run.count - 1,
        )
        for offset in range(run.count):
            if run.first_seed + offset not in done:
                yield Item(prompt_index * run.count + offset, prompt_id, run.first_seed + offset)


def run_plan(ws: Workspace, run: Run, advance: Callable[[int], None]) -> Generated:
    """Make every image of the plan that is missing; `advance(n)` is told of each n that are done.

    Files are durable before their rows are, in batches: a killed run loses at most one batch and
    leaves nothing half-done. Raises CurateError when the model gives pixels that are no numbers.
    """
    missing = missing_items(ws, run)
    first = next(missing, None)
    num_made = 0
    if first is not None:
        generator = load_version(ws, run.version_id)
        settings = SamplingSettings.from_json(run.settings)
        maker = _Maker(ws, run, generator, settings)
        waiting = _chain(first, missing)
        while batch := list(islice(waiting, _flush_size(settings))):
            num_made += maker.make(batch)
            advance(len(batch))
    already = run.num_items - num_made
    queries.record_event(ws.session, "generate", {"run": run.id, "made": num_made})
    return Generated(run.id, run.num_items, already, num_made)


def _chain(first: Item, rest: Iterator[Item]) -> Iterator[Item]:
    yield first
    yield from rest


def _flush_size(settings: SamplingSettings) -> int:
    whole_batches = max(1, FLUSH_IMAGES // settings.batch_size)
    return whole_batches * settings.batch_size


class _Maker:
    """One open generator that turns items into rows; encodes each prompt once."""

    def __init__(
        self, ws: Workspace, run: Run, generator: Generator, settings: SamplingSettings
    ) -> None:
        self.ws, self.run, self.generator, self.settings = ws, run, generator, settings
        self.conditions: dict[str, Conditions] = {}
        self.environment_id = queries_generate.get_or_add_environment(
            ws.session, environment_row(describe_environment())
        )

    def make(self, items: Sequence[Item]) -> int:
        conditions = Conditions.join([self._conditions_of(item.prompt_id) for item in items])
        images_BCHW = images_of(
            self.generator, conditions, [item.seed for item in items], self.settings
        )
        arrays = to_uint8(images_BCHW)
        files = [(png_bytes(array), "image/png") for array in arrays]
        hashes = queries.add_files(self.ws.session, self.ws.store, files)
        rows = [
            self._row(item, sha, pixels_hash(array), list(image.shape))
            for item, sha, array, image in zip(items, hashes, arrays, images_BCHW, strict=True)
        ]
        return queries_generate.add_images(self.ws.session, rows)

    def _row(self, item: Item, sha: str, pixels_sha: str, shape: list[int]) -> Image:
        return Image(
            file_sha256=sha,
            pixels_sha256=pixels_sha,
            origin="synthetic",
            prompt_id=item.prompt_id,
            shape=shape,
            unit=self.generator.codec.unit,
            version_id=self.run.version_id,
            run_id=self.run.id,
            run_index=item.index,
            seed=item.seed,
            settings=self.run.settings,
            settings_hash=settings_hash(self.run.settings),
            item_key=item_key(self.run.version_id, item.prompt_id, item.seed, self.run.settings),
            environment_id=self.environment_id,
        )

    def _conditions_of(self, prompt_id: str) -> Conditions:
        if prompt_id not in self.conditions:
            prompt = prompt_value(self.ws, prompt_id)
            self.conditions[prompt_id] = self.generator.conditioner([prompt])
        return self.conditions[prompt_id]


def prompt_value(ws: Workspace, prompt_id: str) -> PromptValue:
    """Return a stored prompt as the generators take it, condition images loaded."""
    row = ws.session.get(Prompt, prompt_id)
    if row is None:
        raise CurateError(f"No prompt {prompt_id[:12]}. Run `curate doctor`.")
    conditions = queries_generate.conditions_of(ws.session, prompt_id)
    images = {role: to_rgb_tensor(array_of(ws.store.get(sha))) for role, sha in conditions.items()}
    return PromptValue(row.modality, row.text, row.label, row.record, images)


@torch.inference_mode()
def images_of(
    generator: Generator, conditions: Conditions, seeds: Sequence[int], settings: SamplingSettings
) -> torch.Tensor:
    """Return float32 images [B, C, H, W] in [0, 1], one a seed, in order.

    Raises CurateError for pixels that are not numbers: half precision or a broken training.
    """
    latents_BCHW = sample(generator, conditions, seeds, settings)
    images_BCHW = decode(generator, latents_BCHW, settings.batch_size)
    broken = (~torch.isfinite(images_BCHW)).flatten(1).any(dim=1)
    if broken.any():
        seed = seeds[int(broken.nonzero()[0])]
        raise CurateError(
            f"{int(broken.sum())} of {len(seeds)} images have pixels that are no numbers (first: "
            f"seed {seed}). Try --dtype float32, or an earlier generator version."
        )
    low, high = generator.codec.value_range
    return (images_BCHW - low) / (high - low)


def describe_environment() -> dict[str, Any]:
    """Return what, beside the item, decides an image's exact bytes."""
    libraries = ("torch", "diffusers", "transformers", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        **{name: installed_version(name) for name in libraries},
    }


def environment_row(details: dict[str, Any]) -> Environment:
    """Return the row of an environment; its id hashes the details."""
    return Environment(id=queries.json_hash(details), details=details)
