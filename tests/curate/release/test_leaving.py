"""What a release says of itself: marked files, three hashes, Croissant, a verifier of its own."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curate.progress import Advance
from curate.release import verify_alone
from curate.release.config import ExportConfig
from curate.release.manifest import ManifestImage, manifest_bytes, read_manifest
from curate.release.publish import export_release
from curate.release.verify import verify_release
from curate.samples.formats import read_sample
from curate.scoring.promise import Promise, Rung, chance_of_so_few
from curate.scoring.promise import first_rung as first_rung_of
from generators.sample import Sample


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


def _export(story: Any, folder: Path, **options: Any) -> Path:
    config = ExportConfig(threshold=0.35, **options)
    return export_release(story.ws, folder, config, _silent).folder


@pytest.fixture
def folder(story: Any, tmp_path: Path) -> Path:
    return _export(story, tmp_path / "release")


def _stored(story: Any, images: Sequence[ManifestImage]) -> Iterator[Sample]:
    for image in images:
        yield read_sample(story.ws.store, image.stored_sha256)


def _says_synthetic(path: Path) -> bool:
    return b"trainedAlgorithmicMedia" in path.read_bytes()


def test_each_synthetic_file_is_marked_and_none_of_the_store(story: Any, folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.images and all(image.is_marked for image in manifest.images)
    for image in manifest.images:
        assert _says_synthetic(folder / image.path)
        assert b"trainedAlgorithmicMedia" not in story.ws.store.get(image.stored_sha256)
        with Image.open(folder / image.path) as opened:
            opened.verify()


def test_without_the_mark_the_bytes_are_those_of_the_store(story: Any, tmp_path: Path) -> None:
    folder = _export(story, tmp_path / "plain", mark=False)
    manifest = read_manifest(folder)
    assert not any(_says_synthetic(folder / image.path) for image in manifest.images)
    assert not any(image.is_marked for image in manifest.images)
    assert verify_release(folder).ok


def test_stored_file_exported_file_and_pixels_are_compared(story: Any, folder: Path) -> None:
    found = verify_release(folder, make_again=lambda images: _stored(story, images), num_again=3)
    assert found.ok and found.made_again is not None
    assert found.made_again.num_same_files == found.made_again.num_images == 3
    raw = json.loads((folder / "manifest.json").read_text())
    for image in raw["images"]:
        image["stored_sha256"] = "0" * 64
    (folder / "manifest.json").write_bytes(manifest_bytes(raw))
    assert {problem.kind for problem in verify_release(folder).problems} == {"mark"}


def test_a_release_of_0_2_0_has_one_hash_a_file_and_still_verifies(
    story: Any, tmp_path: Path
) -> None:
    folder = _export(story, tmp_path / "old", mark=False)
    for new in ("verify.py", "croissant.json"):
        (folder / new).unlink()
    raw = json.loads((folder / "manifest.json").read_text())
    raw["files"] = [f for f in raw["files"] if f["path"] not in ("verify.py", "croissant.json")]
    for image in raw["images"]:
        del image["stored_sha256"]
    (folder / "manifest.json").write_bytes(manifest_bytes(raw))
    found = verify_release(folder, make_again=lambda images: _stored(story, images))
    assert found.ok and found.made_again is not None
    assert found.made_again.num_same_files == found.num_images


def _alone(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the release's own verifier as a stranger would: no site packages, another folder."""
    command = [sys.executable, "-I", "-S", str(folder / "verify.py")]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_the_verifier_inside_needs_nothing_but_python(folder: Path) -> None:
    done = _alone(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_manifest(folder).release_id in done.stdout
    image = read_manifest(folder).images[0].path
    (folder / image).write_bytes((folder / image).read_bytes() + b"x")
    (folder / "more.txt").write_text("?")
    done = _alone(folder)
    assert done.returncode == 1
    assert f"{image}: other bytes" in done.stdout and "more.txt: not in the manifest" in done.stdout


def test_the_verifier_finds_a_decision_against_the_rule(folder: Path) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    raw["images"][0]["score"] = 0.1
    problems = list(verify_alone._problems_of(folder, raw))
    assert problems == [f"{raw['images'][0]['path']}: score 0.1 is below the threshold 0.35"]
    shutil.rmtree(folder / "images")
    assert any("missing" in problem for problem in verify_alone._problems_of(folder, raw))


@pytest.mark.parametrize(("errors", "rated"), [(0, 59), (1, 93), (5, 208), (30, 300), (0, 1)])
def test_its_binomial_is_scipys(errors: int, rated: int) -> None:
    expected = chance_of_so_few(errors, rated, Promise(0.95, 0.95))
    assert verify_alone.tail(errors, rated, 0.05) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rated", [40, 200, 700])
def test_its_first_threshold_is_that_of_the_export(rated: int) -> None:
    rungs = [Rung(1 - n / 40, 10 * rated * n // 40, rated * n // 40, 0) for n in range(1, 41)]
    plain = [vars(rung) for rung in rungs]
    expected = first_rung_of(rungs, Promise(0.95, 0.95), share_rated=0.1)
    assert verify_alone.first_rung(plain, 0.05, 0.05, 0.1) == expected


def test_croissant_names_the_tables_and_every_column(folder: Path) -> None:
    said = json.loads((folder / "croissant.json").read_text())
    [table] = [f for f in said["distribution"] if f["@type"] == "cr:FileObject"]
    listed = {file.path: file.sha256 for file in read_manifest(folder).files}
    assert listed[table["contentUrl"]] == table["sha256"]
    with (folder / table["contentUrl"]).open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    [records] = said["recordSet"]
    assert [field["name"] for field in records["field"]] == header


@pytest.mark.apart
@pytest.mark.filterwarnings("ignore")  # rdflib's own
def test_mlcroissant_reads_every_record(folder: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="the extra [peers] is not installed")
    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records("images"))
    assert len(records) == len(read_manifest(folder).images)
