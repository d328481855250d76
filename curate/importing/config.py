"""What an import is told beside the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.errors import CurateError
from generators.config import setting

Window = tuple[float, float] | Literal["header", "full"]  # centre and width, or where to find them
Slice = int | Literal["middle", "all"]


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


AS = ("picture", "volume")


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How to read a table of real images."""

    folder: Path | None = setting(
        None, "Folder that paths are relative to (default: the table's folder).", panel="Rows"
    )
    modality: str | None = setting(None, "Modality of rows without one.")
    new_modalities: tuple[str, ...] = setting(
        (),
        "Accept this modality, unknown to curate, as written; repeat for several.",
        option="--new-modality",
    )
    # in the scan's unit, e.g. HU
    window: Window = setting(
        "header",
        "Grey-level window of DICOM and NIfTI: header, full, or center,width such as 40,400.",
        parse=parse_window,
        panel="Pictures",
    )
    kind: str = setting(
        "picture",
        "Import a scan as one picture per slice, or as one volume.",
        choices=AS,
        option="--as",
    )
    # from 0, counted from the feet (NIfTI) or as stored
    slice: Slice | None = setting(
        None, "Slice of a volume: middle, all, or an index from 0.", parse=parse_slice
    )
    # of one image or slice
    max_megapixels: float = setting(100.0, "Largest image, in megapixels; larger ones are refused.")
    max_megavoxels: float = setting(500.0, "Largest volume, in millions of voxels.")
    strict: bool = setting(False, "Import nothing if any row is refused.", panel="Rows")
    dry_run: bool = setting(False, "Only check the table and its files: nothing is written.")
    unlabelled: bool = setting(False, "Accept rows with an empty Text, for a captioner.")
    synthetic: bool = setting(
        False, "Images that another generator made: rated, scored and exported, never made again."
    )
    generator: str | None = setting(None, "What made them: its name, with --synthetic.")
    records: Path | None = setting(
        None, "Table of clinical records (CSV, XLSX) with a column patient or image."
    )
    fields: Path | None = setting(
        None,
        "TOML file that maps records' fields: cells are cleaned by it, and say an empty Text.",
    )
