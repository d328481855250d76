"""Every format is opened again by the library that its users open it with."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pydicom
import pytest
from PIL import Image as PillowImage

from curate.errors import CurateError
from curate.progress import Advance
from curate.release.config import ExportConfig
from curate.release.entries import Entry
from curate.release.formats import dicom
from curate.release.manifest import read_manifest
from curate.release.publish import Exported, export_release
from curate.release.verify import verify_release
from curate.samples.formats import encode, pixels_of
from curate.samples.marks import marked, unmarked
from curate.samples.pixels import array_of, pixels_hash, png_bytes
from db import queries
from db.models import Image
from generators.sample import Sample


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def _export(story: Any, folder: Path, **changed: Any) -> Exported:
    config = ExportConfig(threshold=0.35, **changed)
    return export_release(story.ws, folder, config, _silent)


def _add_real(story: Any, *, split: str | None, patient: str, shade: int) -> Image:
    session = story.ws.session
    array = np.full((48, 40), shade, np.uint8)
    array[10:20, 5:30] = 255 - shade
    [sha] = queries.files.add_files(session, story.ws.store, [(png_bytes(array), "image/png")])
    image = Image(
        file_sha256=sha,
        pixels_sha256=pixels_hash(array),
        origin="real",
        prompt_id=story.prompts[0].id,
        shape=[1, 48, 40],
        patient=patient,
        split=split,
        source="a hospital",
        licence="cc-by-4.0",
    )
    session.add(image)
    session.commit()
    return image


def _in_folder(done: Exported, split: str = "train") -> dict[str, bytes]:
    """The PNG bytes by name."""
    return {path.name: path.read_bytes() for path in (done.folder / "images").rglob("*.png")}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_datasets_opens_parquet_with_images_and_columns(story: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    done = _export(story, tmp_path / "release", formats=("parquet",))
    opened = datasets.load_dataset(
        "parquet",
        data_files=str(done.folder / "parquet" / "train-*.parquet"),
        cache_dir=str(tmp_path / "cache"),
    )["train"]
    assert len(opened) == done.num_kept
    row = opened[0]
    assert isinstance(row["image"], PillowImage.Image) and row["origin"] == "synthetic"
    assert row["simulated_ratings"] is True and isinstance(row["score"], float)
    raw = opened.cast_column("image", datasets.Image(decode=False))
    assert {r["image"]["path"]: r["image"]["bytes"] for r in raw} == _in_folder(done)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_webdataset_opens_the_shards(story: Any, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    done = _export(story, tmp_path / "release", formats=("webdataset",))
    shards = [str(path) for path in (done.folder / "webdataset").iterdir()]
    rows = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert {f"{row['__key__']}.png": row["png"] for row in rows} == _in_folder(done)
    assert {json.loads(row["json"])["modality"] for row in rows} == {"OCT", "CXR"}


def test_pydicom_and_highdicom_open_secondary_captures_that_say_they_are_synthetic(
    story: Any, tmp_path: Path
) -> None:
    highdicom = pytest.importorskip("highdicom")
    done = _export(story, tmp_path / "release", formats=("dicom",))
    paths = sorted((done.folder / "dicom").rglob("*.dcm"))
    assert len(paths) == done.num_kept
    by_name = _in_folder(done)
    for path in paths:
        dataset = pydicom.dcmread(path)
        assert dataset.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
        assert (dataset.SyntheticData, dataset.ConversionType) == ("YES", "SYN")
        assert dataset.ContentQualification == "RESEARCH"
        assert "SYNTHETIC" in dataset.ImageComments and dataset.PatientName == "SYNTHETIC^IMAGE"
        expected = array_of(by_name[f"{path.stem}.png"])
        assert np.array_equal(dataset.pixel_array, expected)
    image = highdicom.imread(paths[0])
    assert np.array_equal(np.squeeze(image.get_frame(1)), pydicom.dcmread(paths[0]).pixel_array)
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in paths}
    assert len(uids) == len(paths) and all(uid.is_valid for uid in uids)


def test_all_formats_are_in_the_manifest_and_the_same_every_time(
    story: Any, tmp_path: Path
) -> None:
    formats = ("parquet", "webdataset", "dicom")
    one = _export(story, tmp_path / "one", formats=formats)
    two = _export(story, tmp_path / "two", formats=formats)
    assert one.release_id == two.release_id and verify_release(two.folder).ok
    kinds = {file.path.partition("/")[0] for file in read_manifest(one.folder).files}
    assert {"images", "parquet", "webdataset", "dicom"} <= kinds


def test_an_unknown_format_is_refused_before_any_work(story: Any, tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="No format 'coco'. Known: parquet, webdataset, dicom"):
        _export(story, tmp_path / "release", formats=("coco",))


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_real_images_are_mixed_in_by_origin_and_no_held_out_one(story: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    train = _add_real(story, split="train", patient="Smith, John", shade=10)
    free = _add_real(story, split=None, patient="Miller, Ann", shade=60)
    _add_real(story, split="test", patient="Jones, Eve", shade=90)
    done = _export(story, tmp_path / "release", with_real=True, formats=("dicom",))
    assert done.num_real == 2
    opened = datasets.load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache"))["train"]
    real = [row for row in opened if row["origin"] == "real"]
    assert len(real) == 2 and {row["source"] for row in real} == {"a hospital"}
    listed = read_manifest(done.folder).raw["real_images"]
    assert {row["file_sha256"] for row in listed} == {train.file_sha256, free.file_sha256}
    assert verify_release(done.folder).ok
    card = (done.folder / "README.md").read_text()
    assert "the real images show patients" in card and "| a hospital | cc-by-4.0 | 2 |" in card
    everything = b"".join(p.read_bytes() for p in done.folder.rglob("*") if p.is_file())
    assert b"Smith" not in everything and b"Miller" not in everything
    real_dicom = [pydicom.dcmread(p) for p in (done.folder / "dicom").rglob("*real*/*.dcm")]
    assert {dataset.SyntheticData for dataset in real_dicom} == {"NO"}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_splits_keep_a_prompt_on_one_side_and_open_as_splits(story: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    done = _export(story, tmp_path / "release", test_share=0.5, formats=("webdataset",))
    opened = datasets.load_dataset(str(done.folder), cache_dir=str(tmp_path / "cache"))
    texts = {split: set(rows["text"]) for split, rows in opened.items()}
    assert sorted(texts) == ["test", "train"] and not texts["test"] & texts["train"]
    assert all(set(rows["split"]) == {split} for split, rows in opened.items())
    names = {path.name for path in (done.folder / "webdataset").iterdir()}
    assert names == {"test-000000.tar", "train-000000.tar"}


def _with_a_volume(story: Any) -> bytes:
    """Make one image of the story a volume in HU; return its file."""
    session, image = story.ws.session, story.images[story.versions[1].id, 1, 3]
    hu = np.random.default_rng(0).integers(-1000, 1000, (1, 3, 8, 8), np.int16)
    volume = Sample(hu, "HU", (5.0, 1.0, 1.0))
    file = encode(volume)
    [sha] = queries.files.add_files(session, story.ws.store, [(file.content, file.media_type)])
    image.file_sha256, image.shape, image.unit = sha, list(hu.shape), "HU"
    image.pixels_sha256 = pixels_hash(pixels_of(volume))
    session.add(image)
    session.commit()
    return file.content


def test_a_volume_leaves_as_nifti_and_is_verified(story: Any, tmp_path: Path) -> None:
    content = _with_a_volume(story)
    done = _export(story, tmp_path / "release", formats=("webdataset", "parquet"))
    [path] = (done.folder / "images").rglob("*.nii.gz")
    assert unmarked(path.read_bytes()) == content and path.read_bytes() == marked(content)
    names = []
    for shard in (done.folder / "webdataset").iterdir():
        with tarfile.open(shard) as tar:
            names += tar.getnames()
    assert path.name in names and path.name.replace(".nii.gz", ".json") in names
    assert verify_release(done.folder, session=story.ws.session).ok


def test_dicom_of_a_volume_is_refused_in_one_line(story: Any, tmp_path: Path) -> None:
    _with_a_volume(story)
    with pytest.raises(CurateError, match="DICOM here holds pictures"):
        _export(story, tmp_path / "release", formats=("dicom",))


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_a_grey_image_is_monochrome_in_dicom_with_all_its_bits(dtype: Any, bits: int) -> None:
    """A viewer windows one channel; three equal ones, as colour generators make, are one."""
    grey = (np.arange(30).reshape(5, 6) * (np.iinfo(dtype).max // 30)).astype(dtype)
    shown = [grey] if bits == 16 else [grey, np.repeat(grey[..., None], 3, axis=2)]
    colour = np.repeat(grey[..., None], 3, axis=2)
    colour[0, 0, 1] += 1
    for array in shown:
        dataset = _as_dicom(array)
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert (dataset.SamplesPerPixel, dataset.BitsStored) == (1, bits)
        assert np.array_equal(dataset.pixel_array, grey)
    if bits == 8:
        assert np.array_equal(_as_dicom(colour).pixel_array, colour)


def _as_dicom(array: Any) -> pydicom.Dataset:
    entry = Entry(
        path="images/OCT/a.png",
        image_id=uuid4(),
        file_sha256="0" * 64,
        origin="synthetic",
        modality="OCT",
        text="normal",
        label=None,
        score=0.5,
        split="train",
        group="group-000001",
    )
    [(_, content)] = dicom.files([entry], lambda _: png_bytes(array), simulated_ratings=True)
    return pydicom.dcmread(io.BytesIO(content))
