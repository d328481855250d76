"""What an image file becomes: a PNG without metadata, its pixels, and what is known of its place.

Arrays are uint8 or uint16 [H, W], or uint8 [H, W, 3].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.importing.config import ImportConfig, Slice
from curate.importing.errors import Refused

Array = NDArray[Any]
Say = Callable[[str], None]  # is told what was done that the reader of the table should know


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image to keep."""

    encoded: bytes  # PNG
    array: Array
    index: int | None = None  # of the slice or frame in its volume
    spacing_mm: list[float] | None = None  # of rows and of columns
    affine: list[list[float]] | None = None  # (row, column, 0, 1) -> mm, right, anterior, superior
    how: dict[str, Any] | None = field(default=None)  # window and slice of a scan
    patient: str | None = None  # a pseudonym


def check_size(num_pixels: int, config: ImportConfig) -> None:
    """Refuse an image that is larger than the limit, before it is decoded."""
    limit = config.max_megapixels * 1e6
    if num_pixels > limit:
        raise Refused(
            f"{num_pixels / 1e6:.0f} megapixels, above the limit of {config.max_megapixels:g} "
            "(--max-megapixels)"
        )


def chosen_slices(wanted: Slice | None, num_slices: int) -> range:
    """Return the indices to take of a volume; one slice needs no choice."""
    if num_slices == 1:
        return range(1)
    if wanted is None:
        raise Refused(
            f"a volume of {num_slices} slices: say which with --slice middle, --slice all or "
            "--slice INDEX"
        )
    if wanted == "all":
        return range(num_slices)
    index = num_slices // 2 if wanted == "middle" else wanted
    if index >= num_slices:
        raise Refused(f"--slice {index} of a volume of {num_slices} slices, counted from 0")
    return range(index, index + 1)


def window_limits(center: float, width: float) -> tuple[float, float]:
    """Return the values shown black and white, by DICOM PS3.3 C.11.2.1.2 (LINEAR)."""
    half = (width - 1) / 2
    return center - 0.5 - half, center - 0.5 + half


def to_grey(values: Array, low: float, high: float) -> NDArray[np.uint8]:
    """Show `low` and below as 0, `high` and above as 255, linear between."""
    span = max(high - low, 1e-6)  # a width of 1 is a threshold
    shown = np.clip((values - low) / span, 0.0, 1.0) * 255
    grey: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
    return grey


def shown_how(index: int, limits: tuple[float, float] | None, unit: str | None) -> dict[str, Any]:
    """Return what an image's row keeps of a scan: its slice, the values shown black and white."""
    black, white = limits or (None, None)
    return {"slice": index, "black": black, "white": white, "unit": unit}
