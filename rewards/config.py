"""How a reward model is fitted. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """An ensemble of small heads on the features of one backbone."""

    backbone: str = "embedded"  # "features", "torchvision/NAME" or a transformers folder
    num_members: int = 5  # heads, each fitted without another part of the groups
    width: int = 64  # hidden units of a head
    text_buckets: int = 128  # words and word pairs are hashed into so many
    num_steps: int = 150  # optimiser steps
    batch_size: int = 128  # ratings a step, for each head
    learning_rate: float = 5e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    held_out: int = 5  # one part of so many is held out to measure on
    min_ratings: int = 40
    min_of_a_kind: int = 10  # top ratings, and others: fewer of either teach nothing
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RewardConfig":
        """Read what `to_json` wrote."""
        return cls(**values)
