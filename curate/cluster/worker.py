"""What runs on a cluster's other processes: a generator in memory, from items to PNG files.

A worker needs neither the database nor the store: it is sent the weights once, and each batch with
its prompts; files and rows are written where the plan is, exactly as on one machine.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.production.images import Maker
from curate.production.items import Item
from curate.production.writer import EncodedBatch, encode
from generators import registry
from generators.acceleration import accelerate
from generators.base import Generator, Prompt
from generators.config import SamplingSettings


@dataclass(frozen=True)
class Weights:
    """A generator version's merged folder, as it travels."""

    family: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Answer:
    """A batch, and what its worker wants to have told: [(event, details)]."""

    batch: EncodedBatch
    notes: list[tuple[str, dict[str, Any]]]
    batch_size: int  # the worker's compute shape now
    device: str


class Worker:
    """One process of the crew, on a GPU where it was given one."""

    def __init__(self, weights: Weights, settings: dict[str, Any]) -> None:
        """Open the generator; as long as this takes, the worker is not ready."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        sampling = SamplingSettings.from_json(settings)
        generator = accelerate(opened(weights).to(device), sampling)
        self._prompts: Mapping[str, Prompt] = {}
        self._notes: list[tuple[str, dict[str, Any]]] = []
        self._maker = Maker(generator, sampling, self._give_prompts, self._note)

    def ready(self) -> bool:
        """Answer as soon as the generator is open."""
        return True

    def make(self, items: Sequence[Item], prompts: Mapping[str, Prompt]) -> Answer:
        """Return the items' images as files; `prompts` are the batch's, by id."""
        self._prompts, self._notes = prompts, []
        batch = encode(items, self._maker.make(items))
        device = str(self._maker.generator.device)
        return Answer(batch, self._notes, self._maker.batch_size, device)

    def _give_prompts(self, prompt_ids: Sequence[str]) -> dict[str, Prompt]:
        return {name: self._prompts[name] for name in prompt_ids}

    def _note(self, event: str, **details: Any) -> None:
        self._notes.append((event, details))


def packed(generator: Generator) -> Weights:
    """Return a generator as its folder's files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generator.save(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return Weights(generator.family, files)


def opened(weights: Weights) -> Generator:
    """Return the generator that was packed."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in weights.files.items():
            path = Path(temporary) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return registry.load(weights.family, temporary)
