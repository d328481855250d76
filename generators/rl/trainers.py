"""An algorithm's name -> what takes its updates: ours, or a peer's own trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from generators.base import Prompt, Trajectory
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.peers.trl_ddpo import train_with_trl
from generators.rl.training import Report, TrainedPolicy, train
from generators.training.processes import ALONE, Processes


class Trainer(Protocol):
    """Learns from a reward; `generators.rl.training.train` says what the arguments are."""

    def __call__(
        self,
        generator: Trajectory,
        prompts: Sequence[Prompt],
        reward: Reward,
        config: RLConfig,
        *,
        folder: Path,
        report: Report,
        processes: Processes = ALONE,
        fits: Path | None = None,
    ) -> TrainedPolicy:
        """Take all updates; return the trained policy with every update's health."""
        ...


def trainer_named(algorithm: str) -> Trainer:
    """Return it; a peer of ours is named in `generators.rl.config.PEERS` too."""
    peers: dict[str, Trainer] = {"trl-ddpo": train_with_trl}
    return peers.get(algorithm, train)
