"""Frozen networks that ship: raters' eyes (A), reward backbone (B), judge (C), features (D)."""

from rewards.frozen.networks import (
    TrainFeatures,
    load_encoder,
    load_eyes,
    load_features,
    load_judge,
    nearest_distances,
    train_features,
)
from rewards.frozen.truth import TruthNetwork, TruthParts

__all__ = [
    "TrainFeatures",
    "TruthNetwork",
    "TruthParts",
    "load_encoder",
    "load_eyes",
    "load_features",
    "load_judge",
    "nearest_distances",
    "train_features",
]
