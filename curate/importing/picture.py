"""What a file becomes: a PNG without metadata, or a volume's NIfTI, and what is known of its place.

A picture's array is uint8 or uint16 [H, W], or uint8 [H, W, 3]; a volume's is [D, H, W].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from curate.importing.config import ImportConfig, Slice
from curate.importing.errors import Refused
from curate.samples.formats import NIFTI, PNG

Array = NDArray[Any]
Say = Callable[[str], None]  # is told what was done that the reader of the table should know


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image or volume to keep."""

    encoded: bytes
    array: Array
    media_type: str = PNG
    kind: str = "intensity"  # or HU, labels
    index: int | None = None  # of the slice or frame in its volume
    spacing_mm: list[float] | None = None  # of rows and of columns; of a volume's slices before
    # (row, column, 0, 1) -> mm, right, anterior, superior; of a volume (column, row, slice, 1)
    affine: list[list[float]] | None = None
    how: dict[str, Any] | None = None  # window and slice of a scan
    patient: str | None = None  # a pseudonym

    @property
    def shape(self) -> list[int]:
        """Return [channels, *spatial]."""
        spatial = 3 if self.media_type == NIFTI else 2
        channels = self.array.shape[spatial:] or (1,)
        return [*channels, *self.array.shape[:spatial]]


def check_size(num_pixels: int, config: ImportConfig, num_slices: int = 1) -> None:
    """Refuse an image or a volume that is larger than the limits, before it is decoded."""
    limit = config.max_megapixels * 1e6
    if num_pixels > limit:
        raise Refused(
            f"{num_pixels / 1e6:.0f} megapixels, above the limit of {config.max_megapixels:g} "
            "(--max-megapixels)"
        )
    if num_pixels * num_slices > config.max_megavoxels * 1e6:
        raise Refused(
            f"{num_pixels * num_slices / 1e6:.0f} million voxels, above the limit of "
            f"{config.max_megavoxels:g} (--max-megavoxels)"
        )


def chosen_slices(wanted: Slice | None, num_slices: int) -> range:
    """Return the indices to take of a volume; one slice needs no choice."""
    if num_slices == 1:
        return range(1)
    if wanted is None:
        raise Refused(
            f"a volume of {num_slices} slices: say which with --slice middle, --slice all or "
            "--slice INDEX, or keep it whole with --as volume"
        )
    if wanted == "all":
        return range(num_slices)
    index = num_slices // 2 if wanted == "middle" else wanted
    if index >= num_slices:
        raise Refused(f"--slice {index} of a volume of {num_slices} slices, counted from 0")
    return range(index, index + 1)
