"""What a generator makes and a file holds: one array with what its numbers mean and where they lie.

Shapes: C channels, D x H x W voxels; a picture is [C, H, W], a volume [C, D, H, W].
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["intensity", "HU", "labels"]
Affine = tuple[tuple[float, ...], ...]  # 4 x 4, voxel indices (W, H, D) to millimetres, RAS+

CHANNELS = {"intensity": (1, 3), "HU": (1,), "labels": (1,)}
DTYPES = {
    "intensity": ("uint8", "uint16", "float32"),  # floats lie in 0 .. 1, integers use their range
    "HU": ("int16", "float32"),
    "labels": ("uint8", "uint16"),  # 0 is background; numbers name classes and are never blended
}


@dataclass(frozen=True)
class Sample:
    """One picture or volume. Two samples are equal where all of it is.

    `array` is [C, H, W] or [C, D, H, W]: C is 1, or 3 for colour. Where a file names its geometry,
    `spacing_mm` has one number a spatial axis, in the array's order, and `affine` the whole of it.
    Raises ValueError for an array that its kind cannot be.
    """

    array: np.ndarray[Any, Any]
    kind: Kind = "intensity"
    spacing_mm: tuple[float, ...] | None = None
    affine: Affine | None = None

    def __post_init__(self) -> None:
        """Refuse what would be read wrong later."""
        array = self.array
        if array.ndim not in (3, 4) or array.size == 0:
            raise ValueError(f"a sample is [C, H, W] or [C, D, H, W], not {list(array.shape)}")
        if array.shape[0] not in CHANNELS[self.kind]:
            raise ValueError(f"{self.kind} with {array.shape[0]} channels")
        if array.dtype.name not in DTYPES[self.kind]:
            raise ValueError(f"{self.kind} as {array.dtype.name}; known: {DTYPES[self.kind]}")
        if self.spacing_mm is not None and len(self.spacing_mm) != array.ndim - 1:
            raise ValueError(f"{len(self.spacing_mm)} spacings for {array.ndim - 1} axes")

    @property
    def is_volume(self) -> bool:
        """Say whether there is a depth axis."""
        return self.array.ndim == 4

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Return (H, W), or (D, H, W)."""
        return tuple(self.array.shape[1:])

    def __eq__(self, other: object) -> bool:
        """Compare numbers, kind and geometry."""
        return (
            isinstance(other, Sample)
            and self.kind == other.kind
            and self.spacing_mm == other.spacing_mm
            and self.affine == other.affine
            and self.array.dtype == other.array.dtype
            and np.array_equal(self.array, other.array)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none
