"""What an import is told beside the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.errors import CurateError

Window = tuple[float, float] | Literal["header", "full"]  # centre and width, or where to find them
Slice = int | Literal["middle", "all"]


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How to read a table of real images."""

    folder: Path | None = None  # the data folder; None: the one the table lies in
    modality: str | None = None  # for rows that have none of their own
    new_modalities: tuple[str, ...] = ()  # names to take as they are, beside the known ones
    window: Window = "header"  # in the scan's unit, e.g. HU; "full": the scan's own range
    slice: Slice | None = None  # of a volume: from 0, counted from the feet (NIfTI) or as stored
    max_megapixels: float = 100.0  # of one image or slice; more is refused unread
    strict: bool = False  # one refused row: nothing is imported
    unlabelled: bool = False  # rows may have an empty text: a captioner will say what they show
    records: Path | None = None  # a table of clinical records by patient or image


def parse_window(text: str) -> Window:
    """Read `--window`: "header", "full" or "center,width"."""
    if text == "header":
        return "header"
    if text == "full":
        return "full"
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        center, width = 0.0, 0.0
    if width <= 0:
        raise CurateError(
            f"--window {text}: give center,width with a width above 0 (40,400 shows soft tissue "
            "in HU), `header` or `full`."
        )
    return center, width


def parse_slice(text: str) -> Slice:
    """Read `--slice`: "middle", "all" or a number from 0."""
    if text == "middle":
        return "middle"
    if text == "all":
        return "all"
    if text.isdecimal():
        return int(text)
    raise CurateError(f"--slice {text}: give middle, all or a number from 0.")
