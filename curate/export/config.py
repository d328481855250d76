"""What an export is told. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DEFAULT_THRESHOLD = 0.5  # a top rating is likelier than not


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which images a release admits. Without a threshold or a share, the threshold is 0.5."""

    threshold: float | None = None  # of the score, the probability of the top rating, 0 .. 1
    top_share: float | None = None  # keep this share of the scored images instead, 0 .. 1
    per_label: int | None = None  # at most so many of one modality and label
    version: str | None = None  # only images of this generator version: an id or its beginning
    reward_model: str = "latest"  # whose scores decide: an id or its beginning
    licence: str | None = None  # of the images; the embedded generator's have one

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ExportConfig":
        """Read what `to_json` wrote."""
        return cls(**values)
