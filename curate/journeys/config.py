"""How journeys are read, described and laid over each other. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.importing.config import Window, parse_window
from generators.config import setting

LAYOUTS = ("csv", "mimic-cxr", "chexpert-plus", "padchest", "dicom")
SPLITS = ("published", "table", "hash")
TEXT_SOURCES = ("column", "rules", "api")


@dataclass(frozen=True, kw_only=True)
class JourneyImport:
    """How a table of dated studies is read."""

    layout: str = setting(
        "csv", "Layout of the table's columns.", choices=LAYOUTS, panel="The table"
    )
    folder: Path | None = setting(
        None, "Folder that paths are relative to (default: the table's folder)."
    )
    reports: Path | None = setting(
        None, "Reports that belong to the table: MIMIC's folder, or a CSV (study,report)."
    )
    modality: str = setting("CXR", "Modality of all images.")
    date_format: str | None = setting(None, "Format of ambiguous dates, such as %d/%m/%Y.")
    views: tuple[str, ...] = setting(
        (), "View to import; repeat for several.", option="--view", shown="PA", panel="Which pairs"
    )
    cross_view: bool = setting(False, "Also pair images of different views.")
    max_days: int = setting(365, "Longest time between the two images of a pair, in days.", min=1)
    split: str | None = setting(
        None,
        "How patients are split: as published (mimic-cxr), as in the table, or by hash.",
        choices=SPLITS,
        shown="published for mimic-cxr, else the table's",
    )
    window: Window = setting(
        "header",
        "Grey-level window of DICOM files: header, full, or center,width.",
        parse=parse_window,
        panel="Pictures",
    )
    strict: bool = setting(False, "Import nothing if any row is refused.", panel="Which pairs")

    @property
    def wanted_views(self) -> frozenset[str]:
        """Return the views that are taken."""
        return frozenset(view.upper() for view in self.views or ("PA",))

    @property
    def split_by(self) -> str:
        """Return whose split is followed."""
        return self.split or ("published" if self.layout == "mimic-cxr" else "table")


@dataclass(frozen=True, kw_only=True)
class JourneyDemo:
    """Procedural patients."""

    num_patients: int = setting(
        300, "Number of patients, each with 2 to 4 visits.", option="--patients", min=4
    )
    side: int = setting(32, "Side of the images, in pixels.", min=16)
    seed: int = setting(0, "Random seed of the patients.", min=0)


@dataclass(frozen=True, kw_only=True)
class DescribeConfig:
    """Where progression texts come from."""

    text: str = setting("rules", "Where the texts come from.", choices=TEXT_SOURCES)
    url: str | None = setting(
        None,
        "For api: an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1.",
        shown="CURATE_LLM_URL",
    )
    model: str | None = setting(None, "For api: the model's name.", shown="CURATE_LLM_MODEL")
    may_leave: bool = setting(
        False,
        "Allow reports to leave this machine, for an endpoint elsewhere.",
        option="--reports-may-leave",
    )
    again: bool = setting(False, "Also describe pairs that already have a text.")


@dataclass(frozen=True, kw_only=True)
class RegisterConfig:
    """Which pairs lie well enough over each other."""

    min_ncc: float = setting(0.5, "Lowest correlation of a registered pair, -1 to 1.")
    min_overlap: float = setting(0.6, "Smallest share of the prior that the new image must cover.")
    strangers: int = setting(60, "Number of pairs of different patients, for comparison.", min=0)
    skip: bool = setting(False, "Keep pairs as they are, unregistered.", option="--no-register")

    def __post_init__(self) -> None:
        """Refuse thresholds that mean nothing."""
        if not (-1 <= self.min_ncc <= 1 and 0 <= self.min_overlap <= 1):
            raise CurateError(
                f"--min-ncc {self.min_ncc} --min-overlap {self.min_overlap}: a correlation lies "
                "in -1 .. 1, a share in 0 .. 1."
            )

    def why_not(self, ncc: float, overlap: float) -> str | None:
        """Return why a pair is not kept."""
        if ncc < self.min_ncc:
            return f"correlation {ncc:.2f} with its prior, below {self.min_ncc:g}"
        if overlap < self.min_overlap:
            return f"covers {overlap:.2f} of its prior, below {self.min_overlap:g}"
        return None
