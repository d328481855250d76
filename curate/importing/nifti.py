"""NIfTI volumes as a radiologist reads them: axial, anterior up, the patient's right at the left.

Slices are counted from the feet. Only pixels, spacing and affine are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import io_orientation

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused, foreign
from curate.importing.picture import (
    Array,
    Picture,
    Say,
    check_size,
    chosen_slices,
    shown_how,
    to_grey,
    window_limits,
)
from curate.samples.pixels import png_bytes

NOT_WHOLE = "not a whole NIfTI file"
MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True)
class _Volume:
    """Voxels on disk and the way from (row, column, slice) to them."""

    voxels: Any  # nibabel's array on disk
    axes: tuple[int, int, int]  # which voxel axis rows, columns and slices run along
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]  # rows, columns, slices
    affine: Array  # (row, column, slice, 1) -> mm

    def slice_at(self, index: int) -> Array:
        """Return values [rows, columns]."""
        rows, columns, slices = self.axes
        at = self.shape[2] - 1 - index if self.flipped[2] else index
        where: list[int | slice] = [slice(None)] * 3 + [0] * (len(self.voxels.shape) - 3)
        if len(self.voxels.shape) > 2:
            where[slices] = at
        with foreign(NOT_WHOLE):
            plane = np.asanyarray(self.voxels[tuple(where[: len(self.voxels.shape)])])
        plane = plane if rows < columns else plane.T
        seen: Array = plane[:: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1]
        return seen


def nifti_pictures(path: Path, config: ImportConfig, say: Say) -> Iterator[Picture]:
    """Yield the chosen slices; Refused when the file is no such volume or no choice was made."""
    with foreign(NOT_WHOLE):
        image = nibabel.load(path)
    volume = _volume(image)
    check_size(volume.shape[0] * volume.shape[1], config)
    indices = chosen_slices(config.slice, volume.shape[2])
    limits = _limits(image, volume, config)
    yield from _shown(volume, indices, limits, say)


def _shown(
    volume: _Volume, indices: range, limits: tuple[float, float] | None, say: Say
) -> Iterator[Picture]:
    num_blank = 0
    for index in indices:
        values = volume.slice_at(index)
        if len(indices) > 1 and values.min() == values.max():
            num_blank += 1
            continue
        if num_infinite := int(np.isinf(values).sum()):
            say(f"slice {index}: {num_infinite} infinite voxels are shown black or white")
        if np.isnan(values).any():
            say(f"slice {index}: {np.isnan(values).sum()} voxels are NaN and shown black")
            values = np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        grey = values if limits is None else to_grey(values, *limits)
        yield _picture(volume, index, np.ascontiguousarray(grey), limits)
    if num_blank:
        say(f"{num_blank} of {len(indices)} slices are one grey level and are left out")


def _picture(
    volume: _Volume, index: int, grey: Array, limits: tuple[float, float] | None
) -> Picture:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * index
    return Picture(
        encoded=png_bytes(grey),
        array=grey,
        index=index if volume.shape[2] > 1 else None,
        spacing_mm=[float(step) for step in np.linalg.norm(affine[:3, :2], axis=0)],
        affine=affine.tolist(),
        how=shown_how(index, limits, None),
    )


def _volume(image: Any) -> _Volume:
    voxels = image.dataobj
    shape = voxels.shape + (1,) * (3 - len(voxels.shape))
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise Refused(f"{len(shape)} dimensions {shape}: save one volume a file")
    if not (np.issubdtype(voxels.dtype, np.integer) or np.issubdtype(voxels.dtype, np.floating)):
        raise Refused(f"voxels of type {voxels.dtype}: only grey values can be shown")
    if not np.isfinite(image.affine).all():
        raise Refused("its affine has NaN or infinite numbers")
    orientation = io_orientation(image.affine)
    if np.isnan(orientation).any():
        raise Refused("its affine has no direction for every axis")
    to_axis = {int(out): axis for axis, (out, _) in enumerate(orientation)}
    axes = (to_axis[1], to_axis[0], to_axis[2])  # anterior-posterior, right-left, feet-head
    if shape[2] == 1 and axes[2] != 2:
        raise Refused("one slice that is not axial: save it as PNG the way it should be seen")
    rises = tuple(orientation[axis][1] == 1 for axis in axes)
    flipped = (rises[0], rises[1], not rises[2])  # rows run to the back, columns to the left
    sizes = (shape[axes[0]], shape[axes[1]], shape[axes[2]])
    affine = _scale_to_mm(image) @ image.affine @ _to_voxels(axes, flipped, sizes)
    return _Volume(voxels, axes, flipped, sizes, affine)


def _to_voxels(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool], sizes: tuple[int, int, int]
) -> Array:
    """Return the matrix (row, column, slice, 1) -> (voxel indices, 1)."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for ours, (axis, flip, size) in enumerate(zip(axes, flipped, sizes, strict=True)):
        matrix[axis, ours] = -1 if flip else 1
        matrix[axis, 3] = size - 1 if flip else 0
    return matrix


def _scale_to_mm(image: Any) -> Array:
    with foreign("its lengths are in an unknown unit"):
        unit = image.header.get_xyzt_units()[0]
    if unit not in MM_PER_UNIT:
        raise Refused(f"its lengths are in {unit!r}, not in mm")
    mm = MM_PER_UNIT[unit]
    return np.diag([mm, mm, mm, 1.0])


def _limits(image: Any, volume: _Volume, config: ImportConfig) -> tuple[float, float] | None:
    """Return the values shown black and white, or None for 8-bit values shown as they are."""
    if config.window == "full":
        with foreign(NOT_WHOLE):
            values = np.asanyarray(volume.voxels)
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise Refused("no voxel of it is a finite number")
        return float(finite.min()), float(finite.max())
    if config.window != "header":
        return window_limits(*config.window)
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    if high > low:
        return low, high
    slope, intercept = image.header.get_slope_inter()
    if image.get_data_dtype() == np.uint8 and slope in (None, 1) and intercept in (None, 0):
        return None
    raise Refused(
        "no window in the header (cal_min, cal_max): give --window center,width or --window full"
    )
