"""DICOM files, made here: windows, spacing and place are kept, whoever was imaged is not."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from curate.importing.config import ImportConfig
from curate.importing.dicom import dicom_pictures
from curate.importing.errors import Refused
from curate.importing.picture import Picture
from curate.importing.real_images import Imported
from curate.samples.pixels import array_of
from curate.workspace import Workspace
from db import queries

STORED = np.array([[0, 1024, 1064], [1264, 2000, 4095]], dtype=np.uint16)  # HU + 1024


def dataset(frames: np.ndarray = STORED, **changes: Any) -> Dataset:
    """Return a CT slice of one Jane Doe; `changes` set attributes, None takes one away."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.PatientName, made.PatientID = "DOE^JANE", "MRN-0012345"
    made.PatientBirthDate, made.InstitutionName = "19700101", "Saint Elsewhere"
    made.Modality, made.PhotometricInterpretation = "CT", "MONOCHROME2"
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.WindowCenter, made.WindowWidth = 40, 400
    made.PixelSpacing, made.SliceThickness = [0.5, 0.75], 2.0
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [-100, -50, 30]
    made.Rows, made.Columns = frames.shape[-2:]
    made.PixelData = frames.tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Picture]]:
    """Save a dataset and read it back through the import; notes land in `read.notes`."""

    def save_and_read(made: Dataset, **config: Any) -> list[Picture]:
        made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        return list(
            dicom_pictures(
                tmp_path / "a.dcm",
                ImportConfig(**config),
                lambda patient_id: f"hash of {len(patient_id)}",
                lambda _: None,
            )
        )

    return save_and_read


Read = Callable[..., list[Picture]]


def test_the_header_s_window_maps_hu_to_grey(read: Read) -> None:
    grey = read(dataset())[0].array
    # DICOM PS3.3 C.11.2.1.2 by hand: black at 40 - 0.5 - 199.5 = -160 HU, white at 239 HU
    hu = STORED.astype(float) - 1024
    assert np.array_equal(grey, np.rint(np.clip((hu + 160) / 399, 0, 1) * 255))
    assert grey.dtype == np.uint8
    assert grey[0, 0] == 0  # air
    assert grey[0, 2] == 128  # 40 HU, the centre


def test_a_given_window_is_used_instead_of_the_header_s(read: Read) -> None:
    lung = read(dataset(), window=(-600.0, 1500.0))[0]
    assert lung.array[0, 1] == round((0 + 1350) / 1499 * 255)
    assert lung.how == {"slice": 0, "black": -1350.0, "white": 149.0, "unit": "HU"}


def test_the_full_window_shows_the_least_black_and_the_most_white(read: Read) -> None:
    grey = read(dataset(), window="full")[0].array
    assert (grey.min(), grey.max()) == (0, 255)


def test_without_any_window_a_deep_image_is_refused_with_what_to_do(read: Read) -> None:
    with pytest.raises(Refused, match="no window in its header: give --window"):
        read(dataset(WindowCenter=None))


def test_an_8_bit_image_without_a_window_is_kept_as_it_is(read: Read) -> None:
    values = np.array([[0, 7], [200, 255]], dtype=np.uint8)
    made = dataset(
        values, BitsAllocated=8, BitsStored=8, HighBit=7, WindowCenter=None, RescaleIntercept=0
    )
    assert np.array_equal(read(made)[0].array, values)


def test_an_inverted_image_is_turned_so_that_bone_is_white(read: Read) -> None:
    plain = read(dataset())[0].array
    inverted = read(dataset(PhotometricInterpretation="MONOCHROME1"))[0].array
    assert np.array_equal(inverted, 255 - plain)


def test_of_several_windows_in_the_header_the_first_is_used(read: Read) -> None:
    several = read(dataset(WindowCenter=[40, -600], WindowWidth=[400, 1500]))[0]
    assert np.array_equal(several.array, read(dataset())[0].array)


def test_spacing_and_place_are_kept_in_mm_towards_right_anterior_superior(read: Read) -> None:
    picture = read(dataset())[0]
    assert picture.spacing_mm == [0.5, 0.75]
    affine = np.array(picture.affine)
    # row 1, column 2: 2 x 0.75 mm to the patient's left, 0.5 mm to the back of (-100, -50, 30) LPS
    assert np.allclose(affine @ [1, 2, 0, 1], [100 - 1.5, 50 - 0.5, 30, 1])


def test_frames_of_a_volume_are_taken_only_by_choice(read: Read) -> None:
    frames = np.stack([STORED, STORED[::-1], STORED[:, ::-1]])
    made = dataset(frames, NumberOfFrames=3)
    with pytest.raises(Refused, match="a volume of 3 slices: say which with --slice middle"):
        read(made)
    assert [picture.index for picture in read(made, slice="all")] == [0, 1, 2]
    assert [picture.index for picture in read(made, slice="middle")] == [1]
    assert np.array_equal(read(made, slice=1)[0].array, read(dataset(STORED[::-1].copy()))[0].array)
    with pytest.raises(Refused, match="--slice 3 of a volume of 3 slices, counted from 0"):
        read(made, slice=3)


def test_values_of_an_enhanced_file_are_looked_up_frame_by_frame(read: Read) -> None:
    def group(intercept: int) -> Dataset:
        outer, inner = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = 1, intercept
        outer.PixelValueTransformationSequence = Sequence([inner])
        return outer

    made = dataset(np.stack([STORED // 2, STORED // 2 + 100]), NumberOfFrames=2)
    made.PerFrameFunctionalGroupsSequence = Sequence([group(-1024), group(-1124)])
    first, second = read(made, slice="all", window="full")
    assert np.array_equal(first.array, second.array)


def test_text_burned_into_the_pixels_is_refused(read: Read) -> None:
    with pytest.raises(Refused, match="burned into the pixels"):
        read(dataset(BurnedInAnnotation="YES"))


def test_a_colour_image_keeps_its_colours(read: Read) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    made = dataset(
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=4,
        Columns=5,
        PixelData=colour.tobytes(),
    )
    assert np.array_equal(read(made)[0].array, colour)


@pytest.mark.parametrize("kind", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_colours_of_studio_range_are_refused_and_never_read_as_full_range(
    read: Read, kind: str
) -> None:
    """PS3.3 C.7.6.3.1.2: black is 16 there, so that the full range's formulas would be wrong."""
    made = dataset(
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=3,
        PhotometricInterpretation=kind,
        PlanarConfiguration=0,
        Rows=4,
        Columns=4,
        PixelData=bytes(range(16, 48)) if kind.endswith("422") else bytes(range(16, 40)),
    )
    with pytest.raises(Refused, match=kind):
        read(made)


def test_a_file_cut_short_is_refused(read: Read, tmp_path: Path) -> None:
    read(dataset())
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[:-6])
    (tmp_path / "text.dcm").write_text("not DICOM at all" * 20)
    for name in ("cut.dcm", "text.dcm"):
        with pytest.raises(Refused, match="DICOM file"):
            list(dicom_pictures(tmp_path / name, ImportConfig(), str, lambda _: None))


def test_nothing_of_the_patient_is_in_the_database_or_the_store(
    import_text: Callable[..., Imported], workspace: Workspace, folder: Path
) -> None:
    dataset().save_as(folder / "scan.dcm", enforce_file_format=True)
    imported = import_text("path,Text,modality\nscan.dcm,normal,chest CT\n")
    assert imported.imported == 1
    workspace.session.commit()
    kept = b"".join(path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file())
    assert len(kept) > 10_000
    for secret in (b"DOE", b"JANE", b"MRN-0012345", b"0012345", b"19700101", b"Elsewhere"):
        assert secret not in kept
    image, _ = queries.images.images(workspace.session)[0]
    assert image.patient is not None and image.patient.startswith("p-")
    assert array_of(workspace.store.get(image.file_sha256)).shape == (2, 3)
    assert image.spacing_mm == [0.5, 0.75]
    assert image.settings == {"slice": 0, "black": -160.0, "white": 239.0, "unit": "HU"}


def test_a_patient_has_one_pseudonym_in_a_workspace_and_the_table_s_name_comes_first(
    import_text: Callable[..., Imported], workspace: Workspace, folder: Path
) -> None:
    for index in range(3):
        dataset(STORED + index).save_as(folder / f"{index}.dcm", enforce_file_format=True)
    import_text("path,Text,modality\n0.dcm,normal,chest CT\n1.dcm,normal,chest CT\n")
    import_text("path,Text,modality,patient\n2.dcm,normal,chest CT,p7\n")
    patients = {
        str(image.source_path): image.patient
        for image, _ in queries.images.images(workspace.session)
    }
    assert patients["0.dcm"] == patients["1.dcm"]
    assert patients["2.dcm"] == "p7"


def test_an_empty_slope_is_one(read: Read) -> None:
    emptied = dataset()
    emptied.RescaleSlope = ""
    as_usual = read(dataset(), window=(40.0, 400.0))[0].array
    assert (read(emptied, window=(40.0, 400.0))[0].array == as_usual).all()


def eight_bits(**changes: Any) -> dict[str, Any]:
    plain = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0}
    return {**plain, "WindowCenter": None, "WindowWidth": None, **changes}


def colours(kind: str, pixels: np.ndarray, **changes: Any) -> Dataset:
    rows, columns = pixels.shape[:2]
    return dataset(
        **eight_bits(
            SamplesPerPixel=3,
            PhotometricInterpretation=kind,
            PlanarConfiguration=0,
            Rows=rows,
            Columns=columns,
            PixelData=pixels.tobytes(),
            **changes,
        )
    )


def test_ybr_is_shown_in_its_colours(read: Read) -> None:
    red, green, blue = (230, 20, 20), (20, 230, 20), (20, 20, 230)
    wanted = np.array([[red, green, blue, (0, 0, 0)]], np.float64)
    # PS3.3 C.7.6.3.1.2, YBR_FULL, by hand
    y = wanted @ [0.2990, 0.5870, 0.1140]
    cb = wanted @ [-0.1687, -0.3313, 0.5000] + 128
    cr = wanted @ [0.5000, -0.4187, -0.0813] + 128
    ybr = np.rint(np.stack([y, cb, cr], axis=-1)).astype(np.uint8)
    shown = read(colours("YBR_FULL", ybr))[0].array
    assert np.abs(shown.astype(int) - wanted).max() <= 2


def test_a_palette_s_numbers_become_its_colours_and_16_bits_become_8(read: Read) -> None:
    made = dataset(
        np.array([[0, 1], [2, 1]], np.uint8),
        **eight_bits(PhotometricInterpretation="PALETTE COLOR"),
    )
    for place, name in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        levels = np.array([0, 256 * 100, 65535]) if place != 1 else np.array([0, 256 * 7, 0])
        table = levels.astype("<u2").tobytes()
        setattr(made, f"{name}PaletteColorLookupTableData", table)
    shown = read(made)[0].array
    assert shown.tolist() == [[[0, 0, 0], [100, 7, 100]], [[255, 0, 255], [100, 7, 100]]]


def test_a_voi_table_in_the_header_is_applied(read: Read) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    made = dataset(values, **eight_bits())
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    gamma = 65535 * (np.arange(256) / 255) ** 0.4
    table.LUTData = gamma.astype("<u2").tobytes()
    made.VOILUTSequence = Sequence([table])
    picture = read(made)[0]
    assert (
        np.abs(picture.array - gamma.reshape(16, 16) / 65535 * 255).max() < 0.501
    )  # rounded twice
    assert picture.how is not None and picture.how["function"] == "VOI LUT"


def test_a_sigmoid_window_is_applied(read: Read) -> None:
    shown = read(dataset(VOILUTFunction="SIGMOID"))[0].array
    hu = STORED.astype(float) - 1024
    assert np.array_equal(shown, np.rint(255 / (1 + np.exp(-4 * (hu - 40) / 400))))  # C.11.2.1.3.1


def test_windows_narrower_than_linear_allows_are_read_as_exact_with_a_note(
    read: Read, tmp_path: Path
) -> None:
    made = dataset(RescaleSlope="0.0001", RescaleIntercept="0", WindowCenter=0.2, WindowWidth=0.4)
    shown = read(made)[0].array
    assert np.abs(shown - np.clip(STORED * 0.0001 / 0.4, 0, 1) * 255).max() < 0.501
    notes: list[str] = []
    list(dicom_pictures(tmp_path / "a.dcm", ImportConfig(), str, notes.append))
    assert "LINEAR_EXACT" in notes[0]


def test_padding_counts_for_nothing_in_the_full_window(read: Read) -> None:
    made = dataset(PixelPaddingValue=0)
    shown = read(made, window="full")[0].array
    assert np.array_equal(shown, np.rint(np.clip((STORED - 1024.0) / 3071, 0, 1) * 255))


def test_a_modality_table_gives_the_values(read: Read) -> None:
    made = dataset(np.array([[5, 6], [7, 8]], np.uint16), RescaleSlope=None, RescaleIntercept=None)
    table = Dataset()
    table.LUTDescriptor = [3, 5, 16]  # of the values 5, 6, 7; what lies above takes the last
    table.LUTData = np.array([0, 100, 300], "<u2").tobytes()
    made.ModalityLUTSequence = Sequence([table])
    assert read(made, window="full")[0].array.tolist() == [[0, 85], [255, 255]]


def test_a_layout_that_the_standard_no_longer_has_is_refused(read: Read) -> None:
    with pytest.raises(Refused, match=r"12 bits with the highest at 15.*PS3.5 8.1.1"):
        read(dataset(HighBit=15))


@pytest.mark.parametrize(("rows", "columns"), [(None, 2), (2, 0)])
def test_a_header_without_a_size_is_refused_for_that(
    read: Read, rows: int | None, columns: int
) -> None:
    name = "Columns" if rows else "Rows"
    made = dataset(Columns=columns)
    made.Rows = rows  # None: there, and empty
    with pytest.raises(Refused, match=f"read from this DICOM file: {name} in its header is empty"):
        read(made)


def test_a_deflated_file_that_unpacks_to_gigabytes_is_refused_in_little_memory(
    tmp_path: Path,
) -> None:
    made = dataset(np.zeros((64, 64), np.uint16))
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.PixelData = bytes(2**26)  # 64 MiB, of which the image needs 8 KiB
    made.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    tracemalloc.start()
    with pytest.raises(Refused, match="it decompresses to more than 17 MB"):
        list(dicom_pictures(tmp_path / "bomb.dcm", ImportConfig(max_megapixels=0.01), str, print))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
