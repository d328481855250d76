"""What runs on a cluster's other processes: a generator in memory, from items to PNG files.

A worker needs neither the database nor the store: it is sent the weights once, and each batch with
its prompts; files and rows are written where the plan is, exactly as on one machine.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.cluster.versions import own_versions
from curate.production.plan import Batch
from curate.production.run import Maker
from curate.production.writer import EncodedBatch, encode
from generators import registry
from generators.acceleration import accelerate
from generators.base import Generator
from generators.config import SamplingSettings


@dataclass(frozen=True)
class PackedGenerator:
    """A generator version's merged folder, as it travels."""

    family: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Equipment:
    """What a worker opens: a generator, and how it samples."""

    weights: PackedGenerator
    settings: dict[str, Any]


@dataclass(frozen=True)
class MadeBatch:
    """A batch's images, and what its worker wants to have told: [(event, details)]."""

    batch: EncodedBatch
    notes: list[tuple[str, dict[str, Any]]]
    batch_size: int  # the worker's compute shape now
    device: str


class ImageWorker:
    """A generator in one process of the crew, on a GPU where it was given one."""

    def __init__(self, equipment: Equipment) -> None:
        """Open the generator; as long as this takes, the worker is not ready."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        sampling = SamplingSettings.from_json(equipment.settings)
        generator = accelerate(opened(equipment.weights).to(device), sampling)
        self._notes: list[tuple[str, dict[str, Any]]] = []
        self._maker = Maker(
            generator, sampling, lambda event, **details: self._notes.append((event, details))
        )

    def versions(self) -> dict[str, str]:
        """Return what decides the images' bytes, as soon as the generator is open."""
        return own_versions()

    def work(self, batch: Batch) -> MadeBatch:
        """Return the items' images as files."""
        self._notes = []
        encoded = encode(batch.items, self._maker.make(batch))
        device = str(self._maker.generator.device)
        return MadeBatch(encoded, self._notes, self._maker.batch_size, device)


def packed(generator: Generator) -> PackedGenerator:
    """Return a generator as its folder's files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generator.save(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return PackedGenerator(generator.family, files)


def opened(weights: PackedGenerator) -> Generator:
    """Return the generator that was packed."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in weights.files.items():
            path = Path(temporary) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return registry.load(weights.family, temporary)
