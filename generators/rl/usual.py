"""What each algorithm is usually run with: the defaults of `curate rl-step` where they differ.

Chosen on the embedded model by the simulated raters' eyes, the spread of images and by looking at
them, never by the judge (docs/results.md).
"""

from collections.abc import Mapping
from typing import Any

from generators.rl.config import RLConfig

USUAL: Mapping[str, Mapping[str, Any]] = {
    "nft": {
        "num_updates": 6,  # its steps are large: most is gained in the first four
        "lora_targets": "attention+convolutions",
        "learning_rate": 1.5e-3,
        "minibatches": 4,  # bounded losses bear several optimiser steps on the same images
        "advantage_clip": 2.0,  # goodness is 0 or 1 from here on: 5 would call nearly all average
        "kl_target": 5e-3,
    },
    "dpo": {
        "num_updates": 8,
        "lora_targets": "attention+convolutions",
        "learning_rate": 1e-3,
        "minibatches": 4,
        "kl_target": 3e-3,
    },
}


def usual(algorithm: str = RLConfig.algorithm, **chosen: Any) -> RLConfig:
    """Return the algorithm's usual settings with those that were chosen."""
    return RLConfig(**{**USUAL.get(algorithm, {}), **chosen, "algorithm": algorithm})
