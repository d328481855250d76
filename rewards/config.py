"""How a reward model is fitted. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_BACKBONES = (
    "Image features: embedded, features, torchvision/NAME, a transformers folder or hub name."
)


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """A Gaussian process on the features of one backbone and on the prompts."""

    backbone: str = field(default="embedded", metadata={"help": _BACKBONES, "panel": "Fit"})
    text_buckets: int = 128  # words and word pairs are hashed into so many
    max_landmarks: int = 800  # rated images that new ones are compared with; time grows by the cube
    modality_congruence: float = 10.0  # logits lost where an image shows another modality's like
    text_congruence: float = 1.5  # ... the like of another prompt of its modality
    num_parts: int = 5  # of the cross-validation, whole prompts and patients each
    # comparisons count as ratings
    min_ratings: int = field(default=40, metadata={"help": "Fewest ratings to accept for a fit."})
    min_of_a_kind: int = 10  # top ratings, and others: fewer of either teach nothing
    seed: int = field(default=0, metadata={"help": "Random seed of the fit."})

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RewardConfig":
        """Read what `to_json` wrote."""
        return cls(**values)
