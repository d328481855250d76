"""What an export is told. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from generators.config import setting

DEFAULT_THRESHOLD = 0.5  # a top rating is likelier than not
DEFAULT_CONFIDENCE = 0.95
FORMATS = ("parquet", "webdataset", "dicom")  # beside the folder of images, which is always there
SHARE = {"min": 0.0, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which images a release admits. Without a threshold, a share or a promise, from 0.5 on."""

    # a score is the probability of the top rating
    threshold: float | None = setting(
        None, "Lowest score, 0 to 1.", shown="0.5", panel="Which images", **SHARE
    )
    top_share: float | None = setting(
        None, "Keep this share of the best-scored images instead, 0 to 1.", **SHARE
    )
    target_precision: float | None = setting(
        None,
        "Promise that at least this share of the images is good, 0 to 1.",
        panel="Promise",
        **SHARE,
    )
    confidence: float = setting(
        DEFAULT_CONFIDENCE, "Confidence that the promise holds, 0 to 1.", **SHARE
    )
    per_modality: bool = setting(False, "Make a promise, and set a threshold, for each modality.")
    good: int | None = setting(
        None, "Raters' consensus from which an image counts as good.", shown="best"
    )
    calibration: str | None = setting(
        None, "Campaign that the promise rests on.", shown="the latest draw"
    )
    # of one modality and label
    per_label: int | None = setting(
        None, "Most images of a label, chosen to differ.", panel="Which images"
    )
    spread_penalty: float = setting(
        0.0, "Posterior standard deviations to take off a score before it decides."
    )
    with_real: bool = setting(
        False, "Mix in the real training images.", panel="Real images and splits"
    )
    real_share: float | None = setting(
        None, "Largest share of real images; means --with-real.", shown="all of them", **SHARE
    )
    val_share: float = setting(
        0.0, "Share for validation, by whole prompts and patients, 0 to 1.", **SHARE
    )
    test_share: float = setting(
        0.0, "Share for testing, by whole prompts and patients, 0 to 1.", **SHARE
    )
    formats: tuple[str, ...] = setting(
        (),
        "A further format beside the images; repeat for several.",
        option="--format",
        choices=FORMATS,
        panel="What is written",
    )
    version: str | None = setting(
        None,
        "Only images of this generator version: an id or its beginning.",
        shown="all",
        panel="Which images",
    )
    run: tuple[str, ...] = setting(
        (),
        "Only images of this run, which have one set of sampling settings; repeat for several.",
        option="--run",
        shown="all",
    )
    reward_model: str = setting(
        "latest", "Reward model whose scores decide: an id or its beginning."
    )
    licence: str | None = setting(
        None,
        "Licence of the images, such as cc-by-4.0.",
        shown="the embedded model's, else none",
        panel="What is written",
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        values = {**asdict(self), "formats": list(self.formats), "run": list(self.run)}
        return values if self.run else {k: v for k, v in values.items() if k != "run"}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ExportConfig":
        """Read what `to_json` wrote."""
        lists = {name: tuple(values.get(name, ())) for name in ("formats", "run")}
        return cls(**{**values, **lists})
