"""What an update showed of itself: a line in the log, a row in the version's metrics."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


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

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "UpdateHealth":
        """Return the figures that `to_json` wrote."""
        return cls(**values)

    def without_seconds(self) -> dict[str, Any]:
        """Return what equal runs have in common."""
        seconds = ("rollout_seconds", "training_seconds")
        return {name: value for name, value in asdict(self).items() if name not in seconds}
