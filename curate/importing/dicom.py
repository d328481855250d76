"""DICOM files: pixels in a window, spacing and place; nothing that names a patient.

All else in the file is left behind. A patient's ID becomes a salted hash, so that images of one
patient stay together and nobody can tell who it is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import convert_color_space

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

Pseudonym = Callable[[str], str]
NO_PIXELS = "no pixels can be read from this DICOM file"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and back, we do not


def is_dicom(path: Path) -> bool:
    """Say whether the file is DICOM: by its preamble or its name."""
    with path.open("rb") as file:
        file.seek(128)
        return file.read(4) == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def dicom_pictures(
    path: Path, config: ImportConfig, pseudonym: Pseudonym, say: Say
) -> Iterator[Picture]:
    """Yield the chosen frames; Refused when the file is not whole or its pixels hold text."""
    try:
        with foreign("not a DICOM file that can be read"):
            dataset = dcmread(path)
    except Refused as reason:
        if isinstance(reason.__cause__, InvalidDicomError):
            raise Refused(
                "not a DICOM file, or one without its preamble (DICM at byte 128)"
            ) from reason
        raise
    frames = _frames(dataset, config)
    patient_id = str(dataset.get("PatientID") or "")
    patient = pseudonym(patient_id) if patient_id else None
    for index in chosen_slices(config.slice, len(frames)):
        grey, how = _shown(dataset, frames, index, config, say)
        yield Picture(
            encoded=png_bytes(grey),
            array=grey,
            index=index if len(frames) > 1 else None,
            spacing_mm=_spacing(dataset, index),
            affine=_affine(dataset, index),
            how=how,
            patient=patient,
        )


def _frames(dataset: Dataset, config: ImportConfig) -> Array:
    """Return values in the scan's unit, [frames, H, W], or colours [frames, H, W, 3]."""
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise Refused("its header says that text is burned into the pixels (BurnedInAnnotation)")
    with foreign(NO_PIXELS):
        num_frames = int(dataset.get("NumberOfFrames") or 1)
        num_pixels = int(dataset.Rows) * int(dataset.Columns)
    check_size(num_pixels, config)
    with foreign(NO_PIXELS):
        stored = dataset.pixel_array if num_frames > 1 else dataset.pixel_array[None]
    return stored if stored.ndim == 4 else _rescaled(dataset, stored)


def _rescaled(dataset: Dataset, stored: Array) -> Array:
    if "ModalityLUTSequence" in dataset:
        raise Refused("its values go through a table (ModalityLUTSequence): export it as PNG")
    values = stored.astype(np.float32)  # 16-bit values stay exact
    for index in range(len(values)):
        group = "PixelValueTransformationSequence"
        values[index] *= _number(_value(dataset, index, group, "RescaleSlope", None), 1.0)
        values[index] += _number(_value(dataset, index, group, "RescaleIntercept", None), 0.0)
    return values


def _shown(
    dataset: Dataset, frames: Array, index: int, config: ImportConfig, say: Say
) -> tuple[Array, dict[str, Any]]:
    kind = str(dataset.PhotometricInterpretation)
    if frames.ndim == 4:
        return _in_colour(dataset, frames[index], kind), {"slice": index}
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(f"pixels of kind {kind}: export it as grey or RGB")
    limits = _limits(dataset, frames, index, config, say)
    grey = frames[index].astype(np.uint8) if limits is None else to_grey(frames[index], *limits)
    how = shown_how(index, limits, _unit(dataset, index))
    return (255 - grey if kind == "MONOCHROME1" else grey), how


def _unit(dataset: Dataset, index: int) -> str | None:
    named = _value(dataset, index, "PixelValueTransformationSequence", "RescaleType", None)
    if named:
        return str(named)
    return "HU" if dataset.get("Modality") == "CT" else None


def _in_colour(dataset: Dataset, frame: Array, kind: str) -> Array:
    if frame.dtype != np.uint8:
        raise Refused(f"colour of {dataset.BitsAllocated} bits: only 8 bits can be kept")
    return frame if kind == "RGB" else convert_color_space(frame, kind, "RGB")


def _limits(
    dataset: Dataset, values: Array, index: int, config: ImportConfig, say: Say
) -> tuple[float, float] | None:
    """Return the values shown black and white, or None for 8-bit values shown as they are."""
    if config.window == "full":
        return float(values.min()), float(values.max())
    if config.window != "header":
        return window_limits(*config.window)
    center = _numbers(_value(dataset, index, "FrameVOILUTSequence", "WindowCenter", None))
    width = _numbers(_value(dataset, index, "FrameVOILUTSequence", "WindowWidth", None))
    if not center or not width:
        if values.min() >= 0 and int(dataset.BitsStored) == 8 and values.max() <= 255:
            return None
        raise Refused("no window in its header: give --window center,width or --window full")
    if len(center) > 1:
        say(f"the first of {len(center)} windows in the header is used: {center[0]},{width[0]}")
    return _by_function(dataset, index, center[0], width[0])


def _by_function(dataset: Dataset, index: int, center: float, width: float) -> tuple[float, float]:
    name = str(_value(dataset, index, "FrameVOILUTSequence", "VOILUTFunction", "LINEAR"))
    if name == "LINEAR":
        return window_limits(center, width)
    if name == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    raise Refused(f"its window is of kind {name}: give --window center,width")


def _value(dataset: Dataset, index: int, group: str, keyword: str, default: Any) -> Any:
    """Look a value up for one frame: in its own group, in the shared one, then in the header."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for functional in [*per_frame[index : index + 1], *shared[:1]]:
        inner = functional.get(group) or []
        if inner and keyword in inner[0]:
            return inner[0][keyword].value
    return dataset.get(keyword, default)


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    try:
        return [float(number) for number in np.atleast_1d(value)]
    except (TypeError, ValueError) as error:
        raise Refused(f"{str(value)!r} in its header is not a number") from error


def _number(value: Any, absent: float) -> float:
    """Return the first number of a header's value; `absent` where it says none."""
    return (_numbers(value) or [absent])[0]


def _spacing(dataset: Dataset, index: int) -> list[float] | None:
    found = _value(dataset, index, "PixelMeasuresSequence", "PixelSpacing", None)
    spacing = _numbers(found) or _numbers(dataset.get("ImagerPixelSpacing"))
    return spacing if len(spacing) == 2 else None


def _affine(dataset: Dataset, index: int) -> list[list[float]] | None:
    """Return (row, column, slice, 1) -> mm by DICOM PS3.3 C.7.6.2.1.1, with this slice at 0."""
    turned = _value(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient", None)
    placed = _value(dataset, index, "PlanePositionSequence", "ImagePositionPatient", None)
    spacing, directions, origin = _spacing(dataset, index), _numbers(turned), _numbers(placed)
    if spacing is None or len(directions) != 6 or len(origin) != 3:
        return None
    along_columns, along_rows = np.array(directions[:3]), np.array(directions[3:])
    thickness = _value(dataset, index, "PixelMeasuresSequence", "SliceThickness", None)
    affine = np.eye(4)
    affine[:3, 0] = along_rows * spacing[0]
    affine[:3, 1] = along_columns * spacing[1]
    affine[:3, 2] = np.cross(along_columns, along_rows) * _number(thickness, 1.0)
    affine[:3, 3] = origin
    result: list[list[float]] = (LPS_TO_RAS @ affine).tolist()
    return result
