"""What the checkpoints of all trainings share: tensors by name, and files whole or not at all.

A training's tensors are its weights, their optimiser's moments, and other sets of values with the
weights' names, such as moving averages.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # all that AdamW remembers of a weight

Named = Mapping[str, Tensor]


def training_tensors(weights: Named, optimizer: AdamW, **others: Named) -> dict[str, Tensor]:
    """Return all there is to go on from, as safetensors keeps it."""
    tensors = {f"weight/{name}": weight.detach() for name, weight in weights.items()}
    for name, weight in weights.items():
        for key, value in optimizer.state[weight].items():
            tensors[f"optimizer.{key}/{name}"] = value
    for kind, values in others.items():
        tensors |= {f"{kind}/{name}": value for name, value in values.items()}
    return {name: value.contiguous() for name, value in tensors.items()}


@torch.no_grad()
def restore_training(tensors: Named, weights: Named, optimizer: AdamW, **others: Named) -> None:
    """Put back, in place, what `training_tensors` returned of the same weights.

    Raises KeyError where a weight or one of its other values is not among the tensors.
    """
    moments: dict[int, dict[str, Tensor]] = {}
    for index, (name, weight) in enumerate(weights.items()):
        weight.copy_(tensors[f"weight/{name}"])
        for key in MOMENTS:
            kept = tensors.get(f"optimizer.{key}/{name}")
            if kept is not None:  # a weight that no loss reaches has no moments
                moments.setdefault(index, {})[key] = kept
    for kind, values in others.items():
        for name, value in values.items():
            value.copy_(tensors[f"{kind}/{name}"])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the place of `path`, durably, when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")  # one name: a kill leaves at most one
    yield unfinished
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())  # the rename must not be durable before the bytes are
    unfinished.replace(path)
