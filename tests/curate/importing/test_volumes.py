"""`--as volume`: whole scans, as SimpleITK reads them too, with place, HU and conditions."""

import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from curate.importing.real_images import Imported
from curate.samples.formats import NIFTI, read_sample
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt
from generators.sample import Sample
from tests.curate.importing.test_dicom import dataset

ImportText = Callable[..., Imported]
# right to left, back to front, head to feet: everything against the order of reading
TURNED = np.array([[-1.5, 0, 0, 80], [0, 2.0, 0, -60], [0, 0, -3.0, 40], [0, 0, 0, 1]])


def hounsfield(shape: tuple[int, int, int] = (7, 6, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.int16)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = TURNED, **header: object) -> Path:
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def series(folder: Path, num: int = 5, *, step: float = 2.5, tilt: float = 0.2) -> np.ndarray:
    """Write one oblique CT series in names that say nothing of its order; return HU [D, H, W]."""
    folder.mkdir()
    uid = generate_uid()
    hu = np.random.default_rng(1).integers(-1024, 3000, (num, 4, 6)).astype(np.int16)
    cos, sin = np.cos(tilt), np.sin(tilt)
    for place in range(num):
        along = np.array([0.0, -sin, cos]) * step * place
        made = dataset(
            (hu[place] + 1024).astype(np.uint16),
            SeriesInstanceUID=uid,
            ImageOrientationPatient=[1, 0, 0, 0, cos, sin],
            ImagePositionPatient=[-100 + along[0], -50 + along[1], 30 + along[2]],
            SliceThickness=1.0,
        )
        made.save_as(folder / f"{(place * 7) % 11:02}.dcm", enforce_file_format=True)
    return hu


def only(workspace: Workspace) -> tuple[Image, Prompt, Sample]:
    [(image, prompt)] = queries.images.images(workspace.session)
    return image, prompt, read_sample(workspace.store, image.file_sha256)


def by_simpleitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels [D, H, W] and (column, row, slice, 1) -> mm, as another library reads them."""
    sitk = pytest.importorskip("SimpleITK")
    if path.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(path))
    image = sitk.DICOMOrient(image, "LPS")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def test_a_ct_is_kept_in_hu_as_simpleitk_reads_it(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    path = save(folder / "ct.nii.gz", hounsfield())
    imported = import_text("path,Text,modality\nct.nii.gz,normal,chest CT\n", kind="volume")
    assert imported.imported == 1
    assert "taken as HU, since its modality is ChestCT" in str(imported.notes)
    image, _, sample = only(workspace)
    voxels, affine = by_simpleitk(path)
    assert sample.kind == image.unit == "HU" and sample.array.dtype == np.int16
    assert np.array_equal(sample.array[0], voxels)
    assert np.allclose(sample.affine, affine, atol=1e-5)  # type: ignore[arg-type]
    assert image.shape == [1, 5, 6, 7] and image.spacing_mm == [3.0, 2.0, 1.5]
    assert queries.files.media_types(workspace.session, [image.file_sha256]) == {
        image.file_sha256: NIFTI
    }


def test_a_folder_of_a_series_is_one_volume_whatever_its_files_are_called(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    hu = series(folder / "scan")
    (folder / "scan" / "notes.txt").write_text("of the ward")
    imported = import_text("path,Text,modality\nscan,nodule,chest CT\n", kind="volume")
    assert imported.imported == 1 and "1 files of the folder are not DICOM" in str(imported.notes)
    image, _, sample = only(workspace)
    (folder / "scan" / "notes.txt").unlink()
    voxels, affine = by_simpleitk(folder / "scan")
    assert np.array_equal(sample.array[0], hu) and np.array_equal(sample.array[0], voxels)
    assert np.allclose(sample.affine, affine, atol=1e-5)  # type: ignore[arg-type]
    assert image.patient is not None and image.patient.startswith("p-")


def test_importing_a_volume_twice_adds_nothing_and_restores_it(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    series(folder / "scan")
    table = "path,Text,modality\nscan,nodule,chest CT\n"
    import_text(table, kind="volume")
    image, *_ = only(workspace)
    workspace.store.local_path(image.file_sha256).unlink()
    again = import_text(table, kind="volume")
    assert (again.imported, again.already_there, again.restored) == (0, 1, 1)


def test_a_volume_that_curate_wrote_comes_back_as_the_same_file(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    save(folder / "ct.nii.gz", hounsfield())
    import_text("path,Text,modality\nct.nii.gz,normal,chest CT\n", kind="volume")
    image, *_ = only(workspace)
    (folder / "own.nii.gz").write_bytes(workspace.store.get(image.file_sha256))
    again = import_text("path,Text,modality\nown.nii.gz,normal,chest CT\n", kind="volume")
    assert (again.imported, again.already_there, again.notes) == (0, 1, [])


def test_what_is_no_ct_is_kept_as_16_bits_of_its_window(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    path = save(folder / "mr.nii", np.arange(210, dtype=np.float32).reshape(7, 6, 5) * 3)
    refused = import_text("path,Text,modality\nmr.nii,x,brain MRI\n", kind="volume").refused
    assert "no window in the header" in str(refused[0])
    import_text("path,Text,modality\nmr.nii,x,brain MRI\n", kind="volume", window="full")
    image, _, sample = only(workspace)
    voxels, _ = by_simpleitk(path)
    assert sample.kind == "intensity" and sample.array.dtype == np.uint16
    assert np.abs(sample.array[0] / 65535 * 627 - voxels).max() < 627 / 65535
    assert image.settings == {"black": 0.0, "white": 627.0, "unit": None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("one gone", "5 mm between .*.dcm and .*.dcm, 2.5 mm between others: is a slice missing"),
        ("one twice", "two slices at the same position"),
        ("two series", "2 series in one folder"),
        ("no place", "does not say where its slices lie"),
        ("one", "1 slice is not a volume"),
        ("none", "a folder without DICOM files"),
    ],
)
def test_a_folder_that_is_not_one_whole_series_is_refused(
    import_text: ImportText, folder: Path, change: str, reason: str
) -> None:
    series(folder / "scan")
    files = sorted((folder / "scan").iterdir())
    if change == "one gone":
        next(file for file in files if file.name == "03.dcm").unlink()  # place 2 of 0 .. 4
    elif change == "one twice":
        (folder / "scan" / "copy.dcm").write_bytes(files[0].read_bytes())
    elif change in ("two series", "no place"):
        other = dataset(np.zeros((4, 6), np.uint16), SeriesInstanceUID=generate_uid())
        if change == "no place":
            del other.ImagePositionPatient
        other.save_as(folder / "scan" / "z.dcm", enforce_file_format=True)
    else:
        for file in files[change == "one" :]:
            file.unlink()
    [refused] = import_text("path,Text,modality\nscan,x,chest CT\n", kind="volume").refused
    assert re.search(reason, refused.text), refused.text


def test_masks_and_priors_may_be_volumes_too(
    import_text: ImportText, workspace: Workspace, folder: Path
) -> None:
    save(folder / "ct.nii.gz", hounsfield())
    save(folder / "before.nii.gz", hounsfield() // 2)
    lungs = (hounsfield() > 0).astype(np.float32) * 3
    save(folder / "lungs.nii.gz", lungs, np.diag([1.5, 2.0, 3.0, 1.0]))
    imported = import_text(
        "path,Text,modality,mask,prior\nct.nii.gz,x,chest CT,lungs.nii.gz,before.nii.gz\n",
        kind="volume",
    )
    assert imported.imported == 1, imported.refused
    _, prompt, sample = only(workspace)
    kept = queries.prompts.conditions_of(workspace.session, [prompt.id])[prompt.id]
    mask = read_sample(workspace.store, kept["mask"])
    assert mask.kind == "labels" and set(np.unique(mask.array)) == {0, 3}
    # laid out from left and back, so that its columns and rows are turned round
    assert np.array_equal(mask.array[0], lungs.T[:, ::-1, ::-1])
    prior = read_sample(workspace.store, kept["prior"])
    assert prior.kind == "HU" and prior.affine == sample.affine
    assert np.array_equal(prior.array, sample.array // 2)


def test_a_mask_with_halves_is_refused(import_text: ImportText, folder: Path) -> None:
    save(folder / "ct.nii.gz", hounsfield())
    save(folder / "mask.nii.gz", hounsfield() / np.float32(2))
    [refused] = import_text(
        "path,Text,modality,mask\nct.nii.gz,x,chest CT,mask.nii.gz\n", kind="volume"
    ).refused
    assert "mask: a mask has whole numbers from 0 to 65535" in refused.text


def test_a_volume_larger_than_the_limit_is_refused_before_it_is_unpacked(
    import_text: ImportText, folder: Path
) -> None:
    save(folder / "ct.nii.gz", hounsfield())
    [refused] = import_text(
        "path,Text,modality\nct.nii.gz,x,chest CT\n", kind="volume", max_megavoxels=0.0002
    ).refused
    assert "(--max-megavoxels)" in refused.text
