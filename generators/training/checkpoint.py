"""A training that can be killed: one file holds all there is to go on from.

What a step draws derives from (seed, step), so that weights, their moving averages, the optimiser's
moments and the history are the whole state.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from generators.checkpoints import replaced, restore_training, training_tensors
from generators.errors import GeneratorError
from generators.training.config import TrainingConfig
from generators.training.trainee import Trainee

CHECKPOINT = "checkpoint.safetensors"
LOG = "steps.jsonl"


@dataclass(frozen=True)
class Validation:
    """Losses of images that are never trained on, after a number of steps."""

    step: int
    losses: dict[str, list[float]]  # by group, an image each: always the same images and noise


@dataclass
class History:
    """What has happened so far; grows by one entry a step."""

    losses: list[float] = field(default_factory=list)  # as trained: weighted, at random timesteps
    gradient_norms: list[float] = field(default_factory=list)
    seconds: float = 0.0  # in steps alone, of all runs that it took
    validations: list[Validation] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        """Return how many steps are done."""
        return len(self.losses)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "History":
        """Read what `to_json` wrote."""
        validations = [Validation(**one) for one in values.pop("validations")]
        return cls(**values, validations=validations)


def save_checkpoint(folder: Path, trainee: Trainee, history: History) -> None:
    """Write the training's state, whole or not at all, then the log that people read."""
    metadata = {
        "config": json.dumps(trainee.config.to_json()),
        "history": json.dumps(history.to_json()),
    }
    tensors = training_tensors(trainee.weights, trainee.optimizer, average=trainee.averages)
    with replaced(folder / CHECKPOINT) as path:
        save_file(tensors, path, metadata=metadata)
    lines = [
        json.dumps({"step": step, "loss": loss, "gradient_norm": norm}) + "\n"
        for step, (loss, norm) in enumerate(
            zip(history.losses, history.gradient_norms, strict=True), 1
        )
    ]
    with replaced(folder / LOG) as path:
        path.write_text("".join(lines), encoding="utf-8")


def steps_kept(folder: Path) -> int:
    """Return how many steps the checkpoint holds: 0 where there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        return len(json.loads(file.metadata()["history"])["losses"])


def load_checkpoint(folder: Path, trainee: Trainee) -> History:
    """Put the training's state back; without a checkpoint, return a fresh start.

    Raises GeneratorError when the checkpoint was made with other settings.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return History()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    config = TrainingConfig.from_json(json.loads(metadata["config"]))
    if config != trainee.config:
        raise GeneratorError(
            f"{path} was made with other settings: {config}. Go on with those, or name a new "
            "folder to start over."
        )
    restore_training(load_file(path), trainee.weights, trainee.optimizer, average=trainee.averages)
    return History.from_json(json.loads(metadata["history"]))
