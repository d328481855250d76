"""What other people's parsers raise at a file is that row's refusal; our own mistakes show."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from curate.importing import check
from curate.importing.real_images import Imported
from tests.curate.importing.test_dicom import dataset

ImportText = Callable[..., Imported]


def nifti_with(path: Path, offset: int, value: bytes) -> None:
    """Write a small volume with some bytes of its header replaced (NIfTI-1's offsets)."""
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)


def dicom_with(path: Path, **changes: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says itself that the value is none
        dataset(**changes).save_as(path, enforce_file_format=True)


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an unknown data type": (
        "x.nii",
        lambda path: nifti_with(path, 70, struct.pack("<h", 9999)),
        "data code 9999",
    ),
    "nine dimensions": ("x.nii", lambda path: nifti_with(path, 40, struct.pack("<h", 9)), "NIfTI"),
    "an unknown unit": ("x.nii", lambda path: nifti_with(path, 123, b"\x07"), "unknown unit"),
    "NaN in its affine": (
        "x.nii",
        lambda path: nifti_with(path, 280, struct.pack("<f", np.nan)),
        "NaN or infinite",
    ),
    "cut short": (
        "x.nii",
        lambda path: path.write_bytes(b"\x5c\x01\x00\x00" + b"\0" * 90),
        "NIfTI",
    ),
    "rows that say nothing": (
        "x.dcm",
        lambda path: dicom_with(path, Rows=""),
        "no pixels can be read",
    ),
    "no preamble": ("x.dcm", lambda path: path.write_bytes(b"\x08\x00\x05\x00"), "preamble"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(FILES))
def test_a_file_that_no_parser_reads_costs_its_row_only(
    import_text: ImportText, folder: Path, name: str
) -> None:
    file, write, reason = FILES[name]
    write(folder / file)
    imported = import_text(
        f"path,Text,modality\n{file},x,CXR\na.png,normal,CXR\n", slice="middle", window="full"
    )
    assert imported.imported == 1
    [refused] = imported.refused
    assert refused.line == 2 and reason in refused.text


def test_infinite_voxels_stand_at_an_end_of_the_full_window(
    import_text: ImportText, folder: Path
) -> None:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    voxels[0, 0, 2] = np.inf
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "x.nii")
    imported = import_text("path,Text,modality\nx.nii,x,ChestCT\n", slice="middle", window="full")
    assert imported.imported == 1
    assert "1 infinite voxels are shown black or white" in " ".join(map(str, imported.notes))


def test_a_mistake_of_our_own_shows_itself(
    import_text: ImportText, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(check, "plain_picture", mistaken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        import_text("path,Text,modality\na.png,normal,CXR\n")
