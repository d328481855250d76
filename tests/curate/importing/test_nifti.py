"""NIfTI volumes, made here: slices are axial and seen as radiologists see them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.nifti import nifti_pictures
from curate.importing.picture import Picture
from curate.importing.real_images import Imported
from curate.workspace import Workspace
from db import queries

RAS = np.diag([2.0, 3.0, 4.0, 1.0])  # voxels of 2 x 3 x 4 mm, axes to right, front, head
Read = Callable[..., list[Picture]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def save_and_read(
        voxels: np.ndarray,
        affine: np.ndarray = RAS,
        cal: tuple[float, float] = (0, 0),
        **config: Any,
    ) -> list[Picture]:
        image = nibabel.Nifti1Image(voxels, affine)
        image.header["cal_min"], image.header["cal_max"] = cal
        nibabel.save(image, tmp_path / "a.nii.gz")
        return list(nifti_pictures(tmp_path / "a.nii.gz", ImportConfig(**config), lambda _: None))

    return save_and_read


def volume() -> np.ndarray:
    """Return 5 x 6 x 7 voxels to right, front and head; 255 marks right, front, slice 4."""
    voxels = np.random.default_rng(0).integers(0, 100, (5, 6, 7), dtype=np.uint8)
    voxels[4, 5, 4] = 255
    return voxels


def test_the_patient_s_right_is_at_the_left_and_the_front_at_the_top(read: Read) -> None:
    picture = read(volume(), slice=4)[0]
    assert picture.array.shape == (6, 5)
    assert picture.array[0, 0] == 255


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_however_a_file_is_laid_out_the_same_slices_are_seen_in_the_same_place(
    read: Read, axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    plain = read(volume(), slice="all")
    to_ours = np.zeros((4, 4))
    to_ours[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        to_ours[old, new] = flip
        to_ours[old, 3] = 0 if flip > 0 else volume().shape[old] - 1
    turned = volume().transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    other = read(np.ascontiguousarray(turned), RAS @ to_ours, slice="all")
    for ours, theirs in zip(plain, other, strict=True):
        assert np.array_equal(ours.array, theirs.array)
        assert np.allclose(ours.affine, theirs.affine)  # type: ignore[arg-type]


def test_the_affine_leads_from_row_and_column_to_mm(read: Read) -> None:
    picture = read(volume(), slice=4)[0]
    assert picture.spacing_mm == [3.0, 2.0]
    # row 0, column 0 is the voxel (4, 5, 4) of 2 x 3 x 4 mm
    assert np.allclose(np.array(picture.affine) @ [0, 0, 0, 1], [8, 15, 16, 1])
    assert np.allclose(np.array(picture.affine) @ [1, 1, 0, 1], [6, 12, 16, 1])


def test_a_volume_is_refused_until_a_slice_is_chosen(read: Read) -> None:
    with pytest.raises(Refused, match="a volume of 7 slices: say which with --slice"):
        read(volume())
    assert [picture.index for picture in read(volume(), slice="middle")] == [3]
    assert len(read(volume(), slice="all")) == 7


def test_blank_slices_of_a_whole_volume_are_left_out(read: Read) -> None:
    voxels = volume()
    voxels[:, :, :3] = 0
    assert [picture.index for picture in read(voxels, slice="all")] == [3, 4, 5, 6]


def test_the_window_comes_from_the_header_or_the_option_and_is_never_invented(read: Read) -> None:
    hu = volume().astype(np.int16) * 10 - 1000
    with pytest.raises(Refused, match="no window in the header"):
        read(hu, slice=4)
    by_header = read(hu, cal=(-160.0, 239.0), slice=4)[0]
    by_option = read(hu, window=(40.0, 400.0), slice=4)[0]
    assert np.array_equal(by_header.array, by_option.array)
    assert by_option.array[0, 0] == 255
    full = read(hu, window="full", slice=4)[0]
    assert full.how is not None and (full.how["black"], full.how["white"]) == (-1000, 1550)


def test_voxels_that_are_no_numbers_are_black(read: Read) -> None:
    voxels = volume().astype(np.float32)
    voxels[4, 5, 4] = np.nan
    assert read(voxels, window=(50.0, 100.0), slice=4)[0].array[0, 0] == 0


def test_a_flat_image_needs_no_choice(read: Read) -> None:
    assert len(read(volume()[:, :, 4])) == 1
    assert read(volume()[:, :, 4:5])[0].array[0, 0] == 255


def test_a_series_of_volumes_is_refused(read: Read) -> None:
    with pytest.raises(Refused, match="save one volume a file"):
        read(np.stack([volume(), volume()], axis=-1), slice=0)


def test_a_file_cut_short_is_refused(read: Read, tmp_path: Path) -> None:
    read(volume(), slice=0)
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.nii").write_text("no volume at all")
    for name in ("cut.nii.gz", "text.nii"):
        with pytest.raises(Refused, match="not a whole NIfTI file"):
            list(nifti_pictures(tmp_path / name, ImportConfig(slice=0), lambda _: None))


def test_a_volume_becomes_one_image_a_slice_and_again_nothing(
    import_text: Callable[..., Imported], workspace: Workspace, folder: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(volume(), RAS), folder / "head.nii.gz")
    table = "path,Text,modality\nhead.nii.gz,normal,brain MRI\n"
    assert import_text(table, slice="all").imported == 7
    again = import_text(table, slice="all")
    assert (again.imported, again.already_there) == (0, 7)
    names = sorted(str(image.source_path) for image, _ in queries.images.images(workspace.session))
    assert names == [f"head.nii.gz#{index}" for index in range(7)]
