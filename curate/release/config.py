"""What an export is told. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DEFAULT_THRESHOLD = 0.5  # a top rating is likelier than not
DEFAULT_CONFIDENCE = 0.95
FORMATS = ("parquet", "webdataset", "dicom")  # beside the folder of images, which is always there


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which images a release admits. Without a threshold, a share or a promise, from 0.5 on."""

    threshold: float | None = None  # of the score, the probability of the top rating, 0 .. 1
    top_share: float | None = None  # keep this share of the scored images instead, 0 .. 1
    target_precision: float | None = None  # promise: this share of the images is good, 0 .. 1
    confidence: float = DEFAULT_CONFIDENCE  # that the promise holds, 0 .. 1
    per_modality: bool = False  # a promise, and a threshold, for each modality
    good: int | None = None  # consensus from which an image is good; None: the best value
    calibration: str | None = None  # campaign that the promise rests on; None: the latest
    per_label: int | None = None  # at most so many of one modality and label
    spread_penalty: float = 0.0  # so many spreads are taken off each score before it decides
    with_real: bool = False  # the real training images too
    real_share: float | None = None  # ... as at most this share of the release, 0 .. 1; None: all
    val_share: float = 0.0  # of the images, whole prompts and patients, 0 .. 1
    test_share: float = 0.0
    formats: tuple[str, ...] = ()  # further ones, of FORMATS
    version: str | None = None  # only images of this generator version: an id or its beginning
    reward_model: str = "latest"  # whose scores decide: an id or its beginning
    licence: str | None = None  # of the images; the embedded generator's have one

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return {**asdict(self), "formats": list(self.formats)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ExportConfig":
        """Read what `to_json` wrote."""
        return cls(**{**values, "formats": tuple(values.get("formats", ()))})
