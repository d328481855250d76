"""A training that can be killed: one file holds all there is to go on from, whole or not at all.

What a step or an update draws derives from (seed, its number), so that weights, their moving
averages, the optimiser's moments and a few notes on what is done are the whole state. Fine-tuning
(`generators.training.history`) and RL (`generators.rl.progress`) say which notes.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from generators.errors import GeneratorError
from generators.training.weights import Named, Weights

CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # all that AdamW remembers of a weight


class Settings(Protocol):
    """What decides a training: a checkpoint of others is not gone on from."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """Read what `to_json` wrote."""
        ...


def save_checkpoint(
    folder: Path,
    weights: Weights,
    config: Settings,
    notes: Mapping[str, str],
    rival: Weights | None = None,
    **others: Named,
) -> None:
    """Write weights, averages, moments and notes; `others` are values with the weights' names.

    A `rival` learns in the same steps: its weights, averages and moments are kept beside them.
    """
    tensors: dict[str, Tensor] = {}
    for learning in filter(None, (weights, rival)):
        tensors |= {f"weight/{name}": weight.detach() for name, weight in learning.named.items()}
        tensors |= {f"average/{name}": value for name, value in learning.averages.items()}
        for name, weight in learning.named.items():
            for key, value in learning.optimizer.state[weight].items():
                tensors[f"optimizer.{key}/{name}"] = value
    for kind, values in others.items():
        tensors |= {f"{kind}/{name}": value for name, value in values.items()}
    with replaced(folder / CHECKPOINT) as path:
        save_file(
            {name: value.contiguous() for name, value in tensors.items()},
            path,
            metadata={"config": json.dumps(config.to_json()), **notes},
        )


@torch.no_grad()
def load_checkpoint(
    folder: Path, weights: Weights, config: Settings, rival: Weights | None = None, **others: Named
) -> dict[str, str] | None:
    """Put back, in place, what was written of the same weights; return the notes.

    None where there is no checkpoint. Raises GeneratorError when it was made with other settings,
    KeyError where a weight or one of its other values is not in it.
    """
    path = folder / CHECKPOINT
    notes = notes_in(folder)
    if notes is None:
        return None
    made_with = type(config).from_json(json.loads(notes["config"]))
    if made_with != config:
        raise GeneratorError(
            f"{path} was made with other settings: {made_with}. Go on with those, or name a new "
            "folder to start over."
        )
    tensors = load_file(path)
    for learning in filter(None, (weights, rival)):
        _put_back(tensors, learning)
    for kind, values in others.items():
        for name, value in values.items():
            value.copy_(tensors[f"{kind}/{name}"])
    return notes


def _put_back(tensors: Named, weights: Weights) -> None:
    """Give weights, their averages and their optimiser the values that were written of them."""
    moments: dict[int, dict[str, Tensor]] = {}
    for index, (name, weight) in enumerate(weights.named.items()):
        weight.copy_(tensors[f"weight/{name}"])
        for key in MOMENTS:
            kept = tensors.get(f"optimizer.{key}/{name}")
            if kept is not None:  # a weight that no loss reaches has no moments
                moments.setdefault(index, {})[key] = kept
    for name, value in weights.averages.items():
        value.copy_(tensors[f"average/{name}"])
    groups = weights.optimizer.state_dict()["param_groups"]
    weights.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def notes_in(folder: Path) -> dict[str, str] | None:
    """Return the notes of the folder's checkpoint without its tensors; None where there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        notes: dict[str, str] = file.metadata()
    return notes


def write_log(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the log that people read: a line of JSON a step or update."""
    with replaced(path) as aside:
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path`, durably, when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")  # one name: a kill leaves at most one
    yield unfinished
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())  # the rename must not be durable before the bytes are
    unfinished.replace(path)
