"""What an export is told. Standard library only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from generators.config import setting

DEFAULT_THRESHOLD = 0.5  # a top rating is likelier than not
DEFAULT_CONFIDENCE = 0.95
ALL = "all modalities"  # what a promise is about that is not one modality's
FORMATS = ("parquet", "webdataset", "dicom")  # beside the folder of images, which is always there
GROUP = "curate.formats"  # a package's entry points here: format = "module:files"
SHARE = {"min": 0.0, "max": 1.0}


def known_formats() -> tuple[str, ...]:
    """Return our own formats, then those that other packages bring."""
    brought = {point.name for point in entry_points(group=GROUP)}
    return (*FORMATS, *sorted(brought - set(FORMATS)))


LISTS = ("formats", "run", "machines")  # that a row keeps as lists


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which images a release admits. Without a threshold, a share or a promise, from 0.5 on."""

    # a score is the probability of the top rating
    threshold: float | None = setting(
        None, "Lowest score, 0 to 1.", shown="0.5", panel="Which images", **SHARE
    )
    top_share: float | None = setting(
        None, "Instead, keep this share of the images with the highest scores, 0 to 1.", **SHARE
    )
    target_precision: float | None = setting(
        None,
        "Share of the images that the release promises to be good, 0 to 1.",
        panel="Promise",
        **SHARE,
    )
    confidence: float = setting(
        DEFAULT_CONFIDENCE, "Confidence that the promise holds, 0 to 1.", **SHARE
    )
    per_modality: bool = setting(False, "A separate promise and threshold for each modality.")
    good: int | None = setting(None, "Lowest consensus rating of a good image.", shown="best")
    calibration: str | None = setting(
        None, "Campaign whose ratings support the promise.", shown="the latest draw"
    )
    machines: tuple[str, ...] = setting(
        (),
        "Machine whose ratings of the draw count for the promise as a rater's; again for more.",
        option="--count-machine",
    )
    # of one modality and label
    per_label: int | None = setting(
        None, "Most images per label, chosen for variety.", panel="Which images"
    )
    quota: int | None = setting(
        None, "Instead of a threshold, keep this many of the best images per label.", min=1
    )
    contradictions: str = setting(
        "drop",
        "Of nearly equal images under different labels: export the best only, or all.",
        choices=("drop", "keep"),
    )
    label_check: float | None = setting(
        None,
        "Lowest probability of the requested label, by a label classifier, 0 to 1.",
        shown="none",
        **SHARE,
    )
    spread_penalty: float = setting(
        0.0, "Posterior standard deviations to subtract from a score before deciding."
    )
    with_real: bool = setting(
        False, "Mix in the real training images.", panel="Real images and splits"
    )
    real_share: float | None = setting(
        None, "Largest share of real images; implies --with-real.", shown="all of them", **SHARE
    )
    val_share: float = setting(
        0.0, "Share for validation, 0 to 1; prompts and patients are kept together.", **SHARE
    )
    test_share: float = setting(
        0.0, "Share for testing, 0 to 1; prompts and patients are kept together.", **SHARE
    )
    formats: tuple[str, ...] = setting(
        (),
        f"Additional format: {', '.join(FORMATS)}, or one that a package brings; repeat for "
        "several.",
        option="--format",
        choices=known_formats,
        panel="What is written",
    )
    version: str | None = setting(
        None,
        "Only images of this generator version: an id or the first digits of one.",
        shown="all",
        panel="Which images",
    )
    run: tuple[str, ...] = setting(
        (),
        "Only images of this run; repeat for several.",
        option="--run",
        shown="all",
    )
    reward_model: str = setting(
        "latest", "Reward model whose scores decide: an id or the first digits of one."
    )
    licence: str | None = setting(
        None,
        "Licence of the images, such as cc-by-4.0.",
        shown="the embedded model's, else none",
        panel="What is written",
    )
    mark: bool = setting(
        True,
        "Mark synthetic files as synthetic, in the IPTC's machine-readable terms.",
        option="--mark/--no-mark",
    )
    # signed releases promise equal pixels, not equal files: a signature holds a time
    sign: Path | None = setting(
        None,
        "Sign each synthetic PNG (C2PA) with this PEM file: a private key and its certificates.",
        shown="none",
    )

    def __post_init__(self) -> None:
        """Refuse a signature under a file that does not say what it is."""
        if self.sign is not None and not self.mark:
            raise CurateError("--sign signs that images are synthetic: leave out --no-mark.")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        values = {**asdict(self), **{name: list(getattr(self, name)) for name in LISTS}}
        del values["sign"]  # a place on this machine
        usual: dict[str, Any] = {  # came later: a row says them where they are not so
            "run": [],
            "machines": [],
            "quota": None,
            "contradictions": "drop",
            "label_check": None,
            "mark": True,
        }
        return {k: v for k, v in values.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ExportConfig":
        """Read what `to_json` wrote."""
        lists = {name: tuple(values.get(name, ())) for name in LISTS}
        return cls(**{**values, **lists})
