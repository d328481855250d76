"""An algorithm's name -> what takes its updates: ours, or a peer's own trainer."""

from collections.abc import Callable

from generators.base import Trajectory
from generators.rl.config import RLConfig
from generators.rl.peers.trl_ddpo import train_with_trl
from generators.rl.source import Source
from generators.rl.training import Conduct, TrainedPolicy, train

Trainer = Callable[[Trajectory, Source, RLConfig, Conduct], TrainedPolicy]


def trainer_named(algorithm: str) -> Trainer:
    """Return it; a peer of ours is named in `generators.rl.config.PEERS` too."""
    peers: dict[str, Trainer] = {"trl-ddpo": train_with_trl}
    return peers.get(algorithm, train)
