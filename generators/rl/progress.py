"""What has happened in an RL run so far, and its checkpoint: written after every update.

Beside the weights these are the old policy, the KL weight, the prompts' reward buffers, how much
fits into memory and the figures of the finished updates.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generators.rl.advantages import PromptBuffers
from generators.rl.budget import Drift
from generators.rl.config import RLConfig
from generators.rl.policy import MemoryFit, Policy
from generators.training.checkpoint import load_checkpoint, save_checkpoint, write_log

LOG = "updates.jsonl"


@dataclass(frozen=True)
class UpdateHealth:
    """One update in figures. Without the seconds, equal runs give equal figures."""

    update: int  # from 0
    window_start: int | None  # first random step, 0 = noisiest; none without random steps
    reward_mean: float  # the reward model's mean, over the update's images
    reward_sd: float  # of the reward with its penalty, over the update's images
    spread_mean: float  # posterior standard deviation; it rises where the reward model guesses
    zero_spread_groups: int  # groups whose rewards are all equal: they taught nothing
    loss: float
    clipped_fraction: float  # of pairs, last inner epoch; 0 with one inner epoch
    ratio_deviation: float  # largest |ratio - 1|, training pass against rollout; float32: < 1e-4
    squared_change: float  # of the predictions from the start's: what the budget counts
    kl: float | None  # the same as exact KL, nats an image and random step, where there are such;
    # compare equal window starts only
    kl_weight: float  # in this update's loss
    gradient_norm: float  # before the cut
    stopped: bool  # the KL budget was overspent: this update moved nothing, the run ended
    rollout_seconds: float  # with decoding and reward
    training_seconds: float
    micro_batch: int = 0  # (image, step) pairs a backward pass had; fewer after a lack of memory
    kept_images: int = 0  # whose predictions the training pass had from the rollout
    base_change: float | None = (
        None  # of the predictions from the base's, where it is not the start
    )
    kept_share: float = 1.0  # of the way from the start, after the step: below 1 where it was held
    checked: float | None = (
        None  # the reward, doubt counted against it, of what would be the result
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; of what is measured and done on demand only what there was."""
        later = ("base_change", "kept_share", "checked")
        idle = {name for name in later if getattr(self, name) == getattr(UpdateHealth, name)}
        return {name: value for name, value in asdict(self).items() if name not in idle}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "UpdateHealth":
        """Return the figures that `to_json` wrote."""
        return cls(**values)

    def without_seconds(self) -> dict[str, Any]:
        """Return what equal runs have in common."""
        seconds = ("rollout_seconds", "training_seconds")
        return {name: value for name, value in asdict(self).items() if name not in seconds}


@dataclass(frozen=True)
class Progress:
    """Which updates are done; the KL weight and the prompts' reward buffers of the next."""

    history: tuple[UpdateHealth, ...]
    kl_weight: float
    buffers: PromptBuffers
    drift: Drift = Drift()

    @property
    def best_check(self) -> float | None:
        """Return the highest reward of a check so far."""
        return max((one.checked for one in self.history if one.checked is not None), default=None)

    def is_finished(self, config: RLConfig) -> bool:
        """Return whether all updates are done, or the KL budget ended the run."""
        stopped = bool(self.history) and self.history[-1].stopped
        return stopped or len(self.history) >= config.num_updates


def fresh_progress(config: RLConfig) -> Progress:
    """Return a run that has done nothing yet."""
    return Progress((), config.kl_weight, PromptBuffers(config.baseline_buffer, {}))


def save_progress(folder: Path, policy: Policy, progress: Progress) -> None:
    """Write the run's state, then the log that people read."""
    history = [health.to_json() for health in progress.history]
    notes = {
        "kl_weight": repr(progress.kl_weight),
        "fit": json.dumps(asdict(policy.fit)),
        "buffers": json.dumps(list(progress.buffers.rewards.items())),
        "history": json.dumps(history),
        "drift": json.dumps(asdict(progress.drift)),
    }
    others = {"old": policy.old, "best": policy.best}
    save_checkpoint(folder, policy.weights, policy.config, notes, None, **others)
    write_log(folder / LOG, history)


def load_progress(folder: Path, policy: Policy) -> Progress:
    """Put the run's state back into `policy`; without a checkpoint, return a fresh start."""
    others = {"old": policy.old, "best": policy.best}
    notes = load_checkpoint(folder, policy.weights, policy.config, None, **others)
    if notes is None:
        return fresh_progress(policy.config)
    policy.fit = MemoryFit(**json.loads(notes["fit"]))
    history = [UpdateHealth.from_json(one) for one in json.loads(notes["history"])]
    buffers = PromptBuffers(policy.config.baseline_buffer, dict(json.loads(notes["buffers"])))
    drift = Drift(**json.loads(notes.get("drift", "{}")))  # an older curate wrote none
    return Progress(tuple(history), float(notes["kl_weight"]), buffers, drift)
