"""What has happened in a fine-tuning so far, and its checkpoint."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from generators.training.checkpoint import (
    load_checkpoint,
    notes_in,
    save_checkpoint,
    write_log,
)
from generators.training.config import TrainingConfig
from generators.training.weights import Weights

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


def save_history(
    folder: Path,
    weights: Weights,
    config: TrainingConfig,
    history: History,
    rival: Weights | None = None,
) -> None:
    """Write the training's state, a rival's with it, then the log that people read."""
    notes = {"history": json.dumps(history.to_json())}
    save_checkpoint(folder, weights, config, notes, rival)
    of_steps = zip(history.losses, history.gradient_norms, strict=True)
    write_log(
        folder / LOG,
        (
            {"step": step, "loss": loss, "gradient_norm": norm}
            for step, (loss, norm) in enumerate(of_steps, 1)
        ),
    )


def load_history(
    folder: Path, weights: Weights, config: TrainingConfig, rival: Weights | None = None
) -> History:
    """Put the training's state back; without a checkpoint, return a fresh start."""
    notes = load_checkpoint(folder, weights, config, rival)
    return History() if notes is None else History.from_json(json.loads(notes["history"]))


def steps_kept(folder: Path) -> int:
    """Return how many steps the checkpoint holds: 0 where there is none."""
    notes = notes_in(folder)
    return 0 if notes is None else len(json.loads(notes["history"])["losses"])
