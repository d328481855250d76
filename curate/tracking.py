"""The figures of a training beside its row, in the trackers that the user named; none unasked.

TensorBoard's files are in the workspace's folder `tensorboard/`; the others write where their own
settings say. What was sent is in `runs/ID.TRACKER.sent`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.workspace import Workspace
from generators.training.config import TrainingConfig
from generators.training.history import History
from generators.training.trackers import Tracker, require_tracker

TRACKERS: ContextVar[Sequence[str]] = ContextVar("TRACKERS", default=())
# what TRL's users look for, and the figure of ours that it is
TRL_NAMES = {"reward_std": "reward_sd", "approx_kl": "kl", "clipfrac": "clipped_fraction"}


@contextmanager
def tracked_by(names: Sequence[str]) -> Iterator[None]:
    """Send the figures of trainings inside to these trackers. GeneratorError where one lacks."""
    for name in names:
        require_tracker(name)
    token = TRACKERS.set(tuple(names))
    try:
        yield
    finally:
        TRACKERS.reset(token)


@dataclass(frozen=True)
class Tracked:
    """A training's runs in all its trackers; none is the rule."""

    trackers: Sequence[Tracker] = ()

    def log(self, step: int, values: Mapping[str, Any], *, of: str = "step") -> None:
        """Send the numbers among a step's figures."""
        numbers = {name: float(v) for name, v in values.items() if isinstance(v, int | float)}
        for tracker in self.trackers:
            tracker.log(step, numbers, of=of)

    def update(self, row: Mapping[str, Any], learning_rate: float) -> None:
        """Send an RL update, ours and TRL's names; step 1 is the first."""
        theirs = {name: row[ours] for name, ours in TRL_NAMES.items()}
        self.log(row["update"] + 1, {**row, **theirs, "lr": learning_rate})

    def history(self, history: History, config: TrainingConfig) -> None:
        """Send what a fine-tuning did since the last step."""
        done = history.num_steps
        if not self.trackers:
            return
        for one in history.validations:
            means = {f"validation/{g}": sum(v) / len(v) for g, v in one.losses.items()}
            self.log(one.step, means, of="validation")
        norm = history.gradient_norms[done - 1]
        values = {"loss": history.losses[done - 1], "gradient_norm": norm, "grad_norm": norm}
        self.log(done, {**values, "lr": config.learning_rate_at(done - 1)})

    def strip(self, step: int, path: Path) -> None:
        """Send a picture of samples at equal seeds."""
        for tracker in self.trackers:
            tracker.strip(step, path)

    def result(self, row_id: str) -> None:
        """Say which row was made."""
        for tracker in self.trackers:
            tracker.result(row_id)


@contextmanager
def tracking(
    ws: Workspace, command: str, key: str, settings: Mapping[str, Any], *, is_told: bool = True
) -> Iterator[Tracked]:
    """Open the asked trackers for this very training; of several processes one is told."""
    names = TRACKERS.get() if is_told else ()
    if not names:
        yield Tracked()
        return
    sent = ws.folder / "runs"
    sent.mkdir(exist_ok=True)
    run, folder = f"{command}-{key[:12]}", ws.folder / "tensorboard"
    trackers = [Tracker(name, run, folder, sent / f"{key}.{name}.sent") for name in names]
    try:
        for tracker in trackers:
            tracker.settings(settings)
        yield Tracked(trackers)
    finally:
        for tracker in trackers:
            tracker.finish()
