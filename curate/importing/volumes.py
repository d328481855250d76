"""`--as volume`: a NIfTI file, a folder of one DICOM series or a DICOM of many frames, kept whole.

What is kept is curate's own NIfTI: axial, from the feet, anterior first, the patient's right first;
HU where the scan is CT, else grey levels of a window. No voxel is resampled. Shapes: D slices of
H x W voxels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.dicom import (
    Pseudonym,
    frame_of,
    is_dicom,
    num_frames_of,
    open_dicom,
    padding_of,
    patient_of,
    rescaled,
)
from curate.importing.errors import Refused, foreign
from curate.importing.grey import Limits, full_limits, shown_how
from curate.importing.header import affine_of, unit_of
from curate.importing.nifti import SUFFIXES, Scan, in_reading_order, nifti_limits, open_nifti
from curate.importing.picture import Array, Picture, Say, check_size
from curate.importing.shown import limits_of
from curate.samples.formats import decode, encode, pixels_of
from generators.sample import Kind, Sample

GAP = 0.02  # of the distance between slices: what the rounding of a header makes of equal steps
TURN = 1e-3  # the same, of a direction's cosines
DEEP = 65535.0


def volume_picture(
    path: Path,
    config: ImportConfig,
    pseudonym: Pseudonym,
    say: Say,
    *,
    modality: str = "",
    labels: bool = False,
) -> Picture:
    """Read a file or a folder as one volume; of `labels`, numbers name classes.

    NIfTI has no field for HU: of a modality that is CT its values are taken as HU, with a note.
    """
    if path.name.lower().endswith(SUFFIXES):
        return _of_nifti(path, config, say, modality, labels=labels)
    if not path.is_dir():
        if is_dicom(path):
            return _of_series([path], config, pseudonym, say, labels=labels)
        raise Refused("not a volume (only NIfTI and DICOM can be): import it without --as volume")
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    scans = [file for file in files if is_dicom(file)]
    if not scans:
        raise Refused("a folder without DICOM files")
    if len(scans) < len(files):
        say(f"{len(files) - len(scans)} files of the folder are not DICOM and are ignored")
    return _of_series(scans, config, pseudonym, say, labels=labels)


def _of_nifti(
    path: Path, config: ImportConfig, say: Say, modality: str, *, labels: bool
) -> Picture:
    scan = open_nifti(path, config, say)
    if len(scan.raw) == 1:
        raise Refused("one slice is not a volume: import it without --as volume")
    if (own := _as_it_was_written(path, scan)) is not None:
        return _kept(own, None)
    if labels:
        return _kept(_sample(np.stack(list(scan.planes())), "labels", scan.affine, say), None)
    is_hu = modality.endswith("CT")
    if is_hu:
        say(f"its values are taken as HU, since its modality is {modality}")
    limits = None if is_hu else nifti_limits(scan, config)
    if limits is None and not is_hu:  # 8 bits, shown as they are
        return _kept(_sample(np.array(scan.raw), "intensity", scan.affine, say), None)
    values = np.empty(scan.raw.shape, np.float32)
    for index, plane in enumerate(scan.planes()):
        values[index] = plane
    return _kept(_sample(values, "HU" if is_hu else "intensity", scan.affine, say, limits), limits)


def _as_it_was_written(path: Path, scan: Scan) -> Sample | None:
    """Return the sample of a file that curate wrote; None for any other."""
    extensions = scan.image.header.extensions
    try:
        says = json.loads(extensions[0].get_content()) if len(extensions) else None
        if not isinstance(says, dict) or not {"kind", "shape"} <= set(says):
            return None
        return decode(path.read_bytes())
    except (CurateError, UnicodeDecodeError, TypeError, ValueError):
        return None  # somebody else's words: the voxels are read as any file's


@dataclass(frozen=True)
class _Frame:
    """One slice of a series."""

    file: Path
    index: int  # in its file
    header: Dataset
    affine: Array  # (row, column, slice, 1) -> mm


def _of_series(
    files: Sequence[Path], config: ImportConfig, pseudonym: Pseudonym, say: Say, *, labels: bool
) -> Picture:
    frames = _in_order(_frames(files, config, say))
    first, last = frames[0], frames[-1]
    rows, columns = int(first.header.Rows), int(first.header.Columns)
    check_size(rows * columns, config, len(frames))
    is_hu = unit_of(first.header, first.index) == "HU" and not labels
    values = np.empty((len(frames), rows, columns), np.float32)
    windows: set[Limits | None] = set()
    opened, dataset = first.file, open_dicom(first.file, config)
    for place, frame in enumerate(frames):
        if frame.file != opened:
            opened, dataset = frame.file, open_dicom(frame.file, config)
        stored, is_colour = frame_of(dataset, frame.index, say)
        if is_colour or stored.shape != (rows, columns):
            raise Refused(f"{frame.file.name}: not grey, unlike the rest of its series")
        values[place] = rescaled(dataset, stored, frame.index)
        if is_hu or labels:
            continue
        if (padding := padding_of(dataset, stored)) is not None:
            values[place][padding] = np.nan
        if config.window != "full":
            seen = np.nan_to_num(values[place])
            windows.add(
                limits_of(dataset, seen, frame.index, config, lambda _: None, lambda: (0, 0))
            )
    affine = np.eye(4)
    affine[:, :2] = first.affine[:, [1, 0]]
    affine[:3, 2] = (last.affine[:3, 3] - first.affine[:3, 3]) / (len(frames) - 1)
    affine[:3, 3] = first.affine[:3, 3]
    seen, affine = in_reading_order(values.transpose(2, 1, 0), affine)
    if len(windows) > 1:
        raise Refused("its slices have different windows: give --window center,width or full")
    limits = full_limits(seen) if config.window == "full" and not is_hu else None
    limits = windows.pop() if windows else limits
    if limits is not None and first.header.PhotometricInterpretation == "MONOCHROME1":
        limits = limits[::-1]
    kind: Kind = "labels" if labels else "HU" if is_hu else "intensity"
    sample = _sample(seen, kind, affine, say, None if labels else limits)
    return _kept(sample, limits, patient_of(first.header, pseudonym))


def _frames(files: Sequence[Path], config: ImportConfig, say: Say) -> list[_Frame]:
    """Return where each slice of one series lies; Refused for several series."""
    frames: list[_Frame] = []
    for file in files:
        try:
            header = open_dicom(file, config, pixels=False)
            with foreign("its frames cannot be counted"):
                num_frames = num_frames_of(header)
            affines = [affine_of(header, index) for index in range(num_frames)]
        except Refused as reason:
            if len(files) == 1:
                raise
            say(f"{file.name} is ignored: {reason}")
            continue
        if any(affine is None for affine in affines):
            raise Refused(
                f"{file.name} does not say where its slices lie (ImagePositionPatient, "
                "ImageOrientationPatient, PixelSpacing: PS3.3 C.7.6.2.1.1)"
            )
        frames += [
            _Frame(file, index, header, affine)
            for index, affine in enumerate(affines)
            if affine is not None
        ]
    series = {str(frame.header.get("SeriesInstanceUID", "")) for frame in frames}
    if len(series) > 1:
        raise Refused(f"{len(series)} series in one folder: give each a folder of its own")
    if len(frames) < 2:
        raise Refused(f"{len(frames)} slice is not a volume: import it without --as volume")
    return frames


def _in_order(frames: list[_Frame]) -> list[_Frame]:
    """Return slices along their normal, evenly spaced; Refused where one is missing or turned."""
    first = frames[0]
    normal = np.cross(first.affine[:3, 0], first.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    for frame in frames:
        if not np.allclose(frame.affine[:3, :2], first.affine[:3, :2], atol=TURN):
            raise Refused(
                f"{frame.file.name} is oriented or spaced differently from {first.file.name}"
            )
        if (frame.header.Rows, frame.header.Columns) != (first.header.Rows, first.header.Columns):
            raise Refused(f"{frame.file.name} is of a different size from {first.file.name}")
    ordered = sorted(frames, key=lambda frame: float(frame.affine[:3, 3] @ normal))
    steps = np.diff([float(frame.affine[:3, 3] @ normal) for frame in ordered])
    usual = float(np.median(steps))
    for step, before, after in zip(steps, ordered, ordered[1:], strict=False):
        pair = f"{before.file.name} and {after.file.name}"
        if step <= GAP * max(usual, 1e-3):
            raise Refused(f"two slices at the same position, {pair}: more than one series or phase")
        if abs(step - usual) > GAP * usual:
            raise Refused(
                f"{step:.3g} mm between {pair}, {usual:.3g} mm between others: is a slice missing?"
            )
    return ordered


def _sample(
    values_DHW: Array, kind: Kind, affine: Array, say: Say, limits: Limits | None = None
) -> Sample:
    """Return values as a sample of its kind, exactly where its numbers allow; else Refused."""
    array = values_DHW
    if array.dtype.kind == "f" and (num_odd := int((~np.isfinite(array)).sum())) and not limits:
        raise Refused(f"{num_odd} voxels are NaN or infinite, which {kind} cannot be")
    whole = array.dtype.kind in "iub" or bool((array == np.rint(array)).all())
    if kind == "labels":
        if not whole or array.min() < 0 or array.max() > DEEP:
            raise Refused("a mask has whole numbers from 0 to 65535, one a class")
        array = array.astype(np.uint8 if array.max() < 256 else np.uint16)
    elif kind == "HU":
        in_16_bits = -(2**15) <= array.min() and array.max() < 2**15
        array = array.astype(np.int16 if whole and in_16_bits else np.float32)
        if array.min() >= 0:
            say("no HU is below 0: air is missing, or the values are not HU")
    elif limits is not None:
        if num_odd := int((~np.isfinite(array)).sum()):
            say(f"{num_odd} voxels are padding, NaN or infinite and shown black or white")
        black, white = limits
        share = np.clip((array - black) / ((white - black) or 1e-6), 0, 1)
        array = np.rint(np.nan_to_num(share) * DEEP).astype(np.uint16)
    spacing = np.linalg.norm(affine[:3, [2, 1, 0]], axis=0)
    return Sample(
        np.ascontiguousarray(array)[None],
        kind,
        tuple(float(step) for step in spacing),
        tuple(tuple(float(number) for number in row) for row in affine),
    )


def _kept(sample: Sample, limits: Limits | None, patient: str | None = None) -> Picture:
    file = encode(sample)
    how = shown_how(0, limits, "HU" if sample.kind == "HU" else None)
    del how["slice"]
    return Picture(
        encoded=file.content,
        array=pixels_of(sample),
        media_type=file.media_type,
        kind=sample.kind,
        spacing_mm=list(sample.spacing_mm) if sample.spacing_mm else None,
        affine=[list(row) for row in sample.affine] if sample.affine else None,
        how=how,
        patient=patient,
    )
