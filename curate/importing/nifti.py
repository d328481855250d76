"""NIfTI volumes as a radiologist reads them: axial, anterior up, the patient's right at the left.

Slices are counted from the feet. Only pixels, spacing and affine are kept.
"""

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.orientations import io_orientation
from nibabel.volumeutils import apply_read_scaling

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused, foreign
from curate.importing.grey import (
    Limits,
    finite_or_black,
    full_limits,
    given_limits,
    shown_how,
    to_grey,
)
from curate.importing.picture import Array, Picture, Say, check_size, chosen_slices
from curate.samples.pixels import png_bytes

NOT_WHOLE = "not a whole NIfTI file"
MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
SUFFIXES = (".nii", ".nii.gz")
MOST_HEADER = 2**24  # bytes before the voxels
SIZES = {348: ("f", 108), 540: ("q", 168)}  # header bytes: how and where vox_offset is written


@dataclass(frozen=True)
class Scan:
    """A volume's numbers in the order of reading, and where they lie."""

    raw: Array  # [D, H, W] as stored, before slope and intercept
    slope: float | None
    intercept: float | None
    affine: Array  # (column, row, slice, 1) -> mm, right, anterior, superior
    image: Any  # nibabel's

    def plane(self, index: int) -> Array:
        """Return a slice's values [H, W]."""
        plane: Array = self.raw[index]
        if self.slope in (None, 1.0) and self.intercept in (None, 0.0):
            return plane
        with foreign(NOT_WHOLE):
            scaled: Array = apply_read_scaling(plane, self.slope, self.intercept)
        return scaled

    def planes(self) -> Iterator[Array]:
        """Yield all slices."""
        return map(self.plane, range(len(self.raw)))


def nifti_pictures(path: Path, config: ImportConfig, say: Say) -> Iterator[Picture]:
    """Yield the chosen slices; Refused when the file is no such volume or no choice was made."""
    scan = open_nifti(path, config, say)
    depth = len(scan.raw)
    indices = chosen_slices(config.slice, depth)
    limits = nifti_limits(scan, config)
    num_blank = num_outside = 0
    for index in indices:
        values = scan.plane(index)
        if len(indices) > 1 and values.min() == values.max():
            num_blank += 1
            continue
        values = finite_or_black(values, index, say)
        if limits is not None:
            num_outside += bool((values >= limits[1]).all() or (values <= limits[0]).all())
            values = to_grey(values, *limits)
        affine = scan.affine[:, [1, 0, 2, 3]]
        affine[:3, 3] += affine[:3, 2] * index
        yield Picture(
            encoded=png_bytes(np.ascontiguousarray(values)),
            array=np.ascontiguousarray(values),
            index=index if depth > 1 else None,
            spacing_mm=[float(step) for step in np.linalg.norm(affine[:3, :2], axis=0)],
            affine=affine.tolist(),
            how=shown_how(index, limits, None),
        )
    if num_blank:
        say(f"{num_blank} of {len(indices)} slices have a single grey level and are left out")
    if num_outside and limits is not None:
        say(f"all values of {num_outside} slices lie outside {limits[0]:g} .. {limits[1]:g}")


def open_nifti(path: Path, config: ImportConfig, say: Say) -> Scan:
    """Read a file's numbers; Refused before anything large is unpacked."""
    _check_header_size(path)
    with foreign(NOT_WHOLE), LoggingOutputSuppressor():  # the refusal says it
        image: Any = nibabel.load(path)
        if not hasattr(image, "affine"):
            raise Refused(f"a {type(image).__name__}, no volume")
        voxels = image.dataobj
        shape = tuple(int(size) for size in voxels.shape)
        affine = np.array(image.affine, float)
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise Refused(f"{len(shape)} dimensions {shape}: save one volume a file")
    if not shape or min(shape) < 1:
        raise Refused(f"its dimensions are {shape}")
    if not (np.issubdtype(voxels.dtype, np.integer) or np.issubdtype(voxels.dtype, np.floating)):
        raise Refused(f"voxels of type {voxels.dtype}: only grey values can be shown")
    shape = (*shape, 1, 1)[:3]
    affine = _sure_affine(image, affine, say)
    axes = np.argsort(io_orientation(affine)[:, 0])
    check_size(shape[axes[0]] * shape[axes[1]], config, shape[axes[2]])
    if shape[2] == 1 and axes[2] != 2:
        raise Refused("one slice that is not axial: save it as PNG the way it should be seen")
    with foreign(NOT_WHOLE):
        raw = np.asarray(voxels.get_unscaled()).reshape(shape)
        slope, intercept = image.header.get_slope_inter()
    raw, affine = in_reading_order(raw, affine)
    return Scan(raw, slope, intercept, affine, image)


def in_reading_order(raw: Array, affine: Array) -> tuple[Array, Array]:
    """Return voxels of any layout as [D, H, W], and (column, row, slice, 1) -> mm.

    Slices rise from the feet, rows run to the back, columns to the patient's left. No voxel is
    computed anew.
    """
    orientation = io_orientation(affine)
    axes = [int(axis) for axis in np.argsort(orientation[:, 0])]  # right-left, front-back, head
    rises = [orientation[axis][1] == 1 for axis in axes]
    flips = (rises[0], rises[1], not rises[2])
    to_voxels = np.zeros((4, 4))
    to_voxels[3, 3] = 1
    for ours, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        to_voxels[axis, ours] = -1 if flip else 1
        to_voxels[axis, 3] = raw.shape[axis] - 1 if flip else 0
    seen = raw.transpose(axes[::-1])
    seen = seen[tuple(slice(None, None, -1 if flip else 1) for flip in flips[::-1])]
    return seen, affine @ to_voxels


def nifti_limits(scan: Scan, config: ImportConfig) -> Limits | None:
    """Return the values shown black and white, or None for 8-bit values shown as they are."""
    if config.window == "full":
        return full_limits(scan.planes())
    if config.window != "header":
        return given_limits(*config.window)
    header = scan.image.header
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if high > low:
        return low, high
    if scan.raw.dtype == np.uint8 and scan.slope in (None, 1) and scan.intercept in (None, 0):
        return None
    raise Refused(
        "no window in the header (cal_min, cal_max): give --window center,width or --window full"
    )


def _check_header_size(path: Path) -> None:
    """Refuse a header that would have megabytes unpacked before its first voxel."""
    with foreign(NOT_WHOLE):
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            start = file.read(540)
        order = "<" if struct.unpack_from("<i", start)[0] in SIZES else ">"
        code, place = SIZES.get(struct.unpack_from(order + "i", start)[0], ("", 0))
        offset = struct.unpack_from(order + code, start, place)[0] if code else 0
    if not offset <= MOST_HEADER:
        raise Refused(f"{NOT_WHOLE} (its voxels are said to begin at byte {offset:g})")


def _sure_affine(image: Any, affine: Array, say: Say) -> Array:
    """Return the affine in mm; Refused where the file does not say left from right for certain."""
    if not np.isfinite(affine).all():
        raise Refused("its affine has NaN or infinite numbers")
    with foreign("its affine cannot be read"):
        orientation = io_orientation(affine)
        header = image.header
        sform, scode = header.get_sform(coded=True)
        qform, qcode = header.get_qform(coded=True)
    if np.isnan(orientation).any():
        raise Refused("its affine has no direction for every axis")
    if not scode and not qcode:
        say("neither sform nor qform says its orientation (NIfTI-1, method 1): left may be right")
    elif scode and qcode and np.isfinite(qform).all():
        other = io_orientation(qform)
        if not np.isnan(other).any() and (other != orientation).any():
            raise Refused(
                f"its sform says {''.join(nibabel.aff2axcodes(sform))}, its qform "
                f"{''.join(nibabel.aff2axcodes(qform))}: left may be right. Fix its header"
            )
    with foreign("its lengths are in an unknown unit"):
        unit = header.get_xyzt_units()[0]
    if unit not in MM_PER_UNIT:
        raise Refused(f"its lengths are in {unit!r}, not in mm")
    if unit == "unknown":
        say("its header names no unit of length: mm is assumed")
    return np.diag([*[MM_PER_UNIT[unit]] * 3, 1.0]) @ affine
