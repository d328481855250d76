"""All images that pydicom and nibabel bring along: right by an independent reader, or refused.

The table of refusals, each with its clause of the standard, is docs/refused-files.md.
"""

import re
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    apply_windowing,
)
from scipy.spatial.transform import Rotation

from curate.importing.check import pictures_of
from curate.importing.config import ImportConfig
from curate.importing.dicom import is_dicom
from curate.importing.errors import Refused
from curate.importing.picture import Picture
from curate.importing.volumes import volume_picture

ROOT = Path(__file__).parents[3]
PACKAGES = (Path(pydicom.__file__).parent / "data", Path(nibabel.__file__).parent)
NO_IMAGES = re.compile(
    r"\.(txt|md|rst|py|pyc|m|json|dump|icc|bin|bin\.gz|dat|dcm\.sh|gitignore)$|README|__init__"
)
YBR = 12  # packaged colour files whose stored pixels are YBR
WERE_IN = 104  # files that version 0.2.0 took
pytestmark = pytest.mark.filterwarnings("ignore")


def packaged() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted(package.rglob("*")):
            folders = path.relative_to(package).parts[:-1]
            is_data = any("data" in folder or "_files" in folder for folder in folders)
            if is_data and path.is_file() and not NO_IMAGES.search(path.name):
                yield path


def taken(path: Path) -> tuple[list[Picture], str]:
    """Return the pictures of a file and the window that they are shown in."""
    for window in ("header", "full"):
        config = ImportConfig(slice="all", window=window)
        try:
            pictures = list(pictures_of(path, path.name, config, str, lambda _: None))
            if not pictures:
                raise Refused("every slice has a single grey level")
            return pictures, window
        except Refused as reason:
            if not str(reason).startswith("no window") or window == "full":
                raise
    raise AssertionError


def refusals() -> list[tuple[list[str], str]]:
    rows = (ROOT / "docs" / "refused-files.md").read_text().split("|---|---|---|\n")[1]
    cells = [row.split("|") for row in rows.strip().splitlines()]
    return [(re.findall(r"`(.+?)`", row[1]), row[2].strip()) for row in cells]


@pytest.mark.slow
def test_each_goes_in_as_pydicom_shows_it_or_is_refused_by_the_table() -> None:
    table, used = refusals(), set()
    num_in = num_ybr = 0
    wrong: list[str] = []
    for path in packaged():
        try:
            pictures, window = taken(path)
        except Refused as reason:
            rule = next(
                (
                    (pattern, why)
                    for patterns, why in table
                    for pattern in patterns
                    if fnmatch(path.name, pattern) and why in str(reason)
                ),
                None,
            )
            used.add(rule)
            if rule is None:
                wrong.append(f"{path.name}: {reason}")
            continue
        num_in += 1
        if is_dicom(path) and path.suffix != ".gz":
            dataset = pydicom.dcmread(path)
            num_ybr += "YBR" in dataset.PhotometricInterpretation
            wrong += [
                f"{path.name}, frame {picture.index}: {difference}"
                for picture in pictures
                if (difference := unlike_pydicom(dataset, picture, window))
            ]
    assert wrong == []
    assert num_in >= WERE_IN + 6 and num_ybr >= YBR
    assert used == {(pattern, why) for patterns, why in table for pattern in patterns}


def unlike_pydicom(dataset: pydicom.Dataset, picture: Picture, window: str) -> str:
    """Say how far a picture is from pydicom's own pipeline, "" where it is near enough."""
    frames = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        frames = frames[picture.index or 0]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        frames = apply_color_lut(frames, dataset)
    if picture.array.ndim == 3:  # dcmread's pixel_array has turned YBR into RGB
        wanted = frames / np.iinfo(frames.dtype).max * 255
        most = 2.0
    else:
        values = apply_modality_lut(frames, dataset).astype(float)
        if window == "full":
            whole = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
            low, high = whole.min(), whole.max()
            share = (values - low) / (high - low)
        elif "WindowWidth" in dataset or dataset.get("VOILUTSequence"):
            share = in_its_window(dataset, frames)
        else:
            share = values / 255
        wanted, most = share * 255, 0.501
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            wanted = 255 - wanted
    distance = float(np.abs(picture.array - wanted).max())
    return f"{distance:.3f} levels" if distance > most else ""


def in_its_window(dataset: pydicom.Dataset, frame: Any) -> Any:
    """Return pydicom's windowed values in 0 .. 1."""
    values = apply_modality_lut(frame, dataset)
    shown = apply_voi_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        return shown / (2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    ends = np.array([-1e9, 1e9])
    black, white = apply_windowing(ends, dataset)
    return (shown - black) / (white - black)


def test_ultrasound_in_ybr_has_the_colours_of_its_plain_twin() -> None:
    """The same picture, stored as YBR_FULL_422 and as RGB by its makers."""
    ybr, _ = taken(Path(str(get_testdata_file("SC_ybr_full_422_uncompressed.dcm"))))
    rgb, _ = taken(Path(str(get_testdata_file("SC_rgb_rle.dcm"))))
    # bars of colour, off their edges, which 4:2:2 blurs; 8 bits of YBR give RGB to 5 levels
    rows, columns = slice(5, 95, 10), slice(5, 95, 10)
    assert np.abs(ybr[0].array[rows, columns].astype(int) - rgb[0].array[rows, columns]).max() <= 5


@pytest.mark.parametrize(
    "name", ["anatomical.nii", "standard.nii.gz", "resampled_anat_moved.nii", "oblique"]
)
def test_volumes_are_those_that_simpleitk_reads(tmp_path: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "oblique.nii"
    if name == "oblique":
        turned = np.eye(4)
        turned[:3, :3] = Rotation.from_euler("xyz", (0.3, -0.2, 1.8)).as_matrix() * (2.1, 1.4, 3)
        values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, turned), path)
    else:
        path = next(PACKAGES[1].rglob(name))
    config = ImportConfig(kind="volume", window="full")
    found = volume_picture(path, config, str, lambda _: None, modality="BrainMRI")
    theirs = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")).astype(
        float
    )
    finite = theirs != 0 if "resampled" in name else np.isfinite(theirs)  # it reads NaN as 0
    low, high = theirs[finite].min(), theirs[finite].max()
    ours = found.array / np.iinfo(found.array.dtype).max * 255
    distance = np.abs(ours - (theirs - low) / (high - low) * 255)
    assert distance[finite].max() <= 0.5


def test_warnings_of_parsers_are_notes() -> None:
    path = Path(str(get_testdata_file("JPEG-lossy.dcm")))
    with warnings.catch_warnings(), pytest.raises(Refused, match="12-bit JPEG"):
        warnings.simplefilter("error")
        list(pictures_of(path, path.name, ImportConfig(), str, lambda _: None))
