"""Values of a DICOM header, looked up for one frame."""

from typing import Any

import numpy as np
from pydicom import Dataset

from curate.importing.errors import Refused
from curate.importing.picture import Array

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM counts to the left and back, we do not


def value_of(dataset: Dataset, index: int, group: str, keyword: str, default: Any = None) -> Any:
    """Look a value up for one frame: in its own group, in the shared one, then in the header."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for functional in [*per_frame[index : index + 1], *shared[:1]]:
        inner = functional.get(group) or []
        if inner and keyword in inner[0]:
            return inner[0][keyword].value
    return dataset.get(keyword, default)


def numbers(value: Any) -> list[float]:
    """Return a header's numbers, none where it says nothing; Refused for what is not a number."""
    if value is None or value == "":
        return []
    try:
        found = [float(number) for number in np.atleast_1d(value)]
    except (TypeError, ValueError) as error:
        raise Refused(f"{str(value)!r} in its header is not a number") from error
    if not np.isfinite(found).all():
        raise Refused(f"{str(value)!r} in its header is not a finite number")
    return found


def number(value: Any, absent: float) -> float:
    """Return the first number of a header's value; `absent` where it says none."""
    return (numbers(value) or [absent])[0]


def spacing_of(dataset: Dataset, index: int) -> list[float] | None:
    """Return mm from row to row and from column to column."""
    found = value_of(dataset, index, "PixelMeasuresSequence", "PixelSpacing")
    spacing = numbers(found) or numbers(dataset.get("ImagerPixelSpacing"))
    return spacing if len(spacing) == 2 else None


def affine_of(dataset: Dataset, index: int) -> Array | None:
    """Return (row, column, slice, 1) -> mm by DICOM PS3.3 C.7.6.2.1.1, with this slice at 0."""
    turned = value_of(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient")
    placed = value_of(dataset, index, "PlanePositionSequence", "ImagePositionPatient")
    spacing, directions, origin = spacing_of(dataset, index), numbers(turned), numbers(placed)
    if spacing is None or len(directions) != 6 or len(origin) != 3:
        return None
    along_columns, along_rows = np.array(directions[:3]), np.array(directions[3:])
    thickness = value_of(dataset, index, "PixelMeasuresSequence", "SliceThickness")
    affine = np.eye(4)
    affine[:3, 0] = along_rows * spacing[0]
    affine[:3, 1] = along_columns * spacing[1]
    affine[:3, 2] = np.cross(along_columns, along_rows) * number(thickness, 1.0)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def unit_of(dataset: Dataset, index: int) -> str | None:
    """Return the unit of rescaled values: as the header names it, HU in CT."""
    named = value_of(dataset, index, "PixelValueTransformationSequence", "RescaleType")
    if named:
        return str(named)
    return "HU" if dataset.get("Modality") == "CT" else None


def through_table(values: Array, item: Dataset, is_little_endian: bool) -> tuple[Array, int]:
    """Return values looked up by PS3.3 C.11.1.1.1 (Modality and VOI LUT), and the table's bits."""
    num_entries, first, bits = (int(said) for said in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if is_little_endian else ">u2")
    table = np.asarray(data, np.float32)[: num_entries or 2**16]
    if not table.size or not 1 <= bits <= 16:
        raise Refused(f"its lookup table has {table.size} entries of {bits} bits (C.11.1.1.1)")
    places = np.clip(values - first, 0, len(table) - 1).astype(np.int64)
    return table[places], bits
