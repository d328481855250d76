import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.progress import Advance
from curate.release.config import ExportConfig
from curate.release.manifest import ManifestImage, manifest_bytes, read_manifest
from curate.release.publish import export_release
from curate.release.verify import likeness, verify_release
from curate.samples.formats import decode
from curate.samples.pixels import array_of, png_bytes
from curate.workspace import Workspace, open_workspace
from generators.sample import Sample
from tests.curate.conftest import Story, Written


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


@pytest.fixture(scope="module")
def _released(_written: Written, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A story with a release beside its workspace; exported once, copied for each test."""
    place = tmp_path_factory.mktemp("released")
    shutil.copytree(_written.folder, place / "workspace")
    with open_workspace(place / "workspace") as ws:
        export_release(ws, place / "release", ExportConfig(threshold=0.35), _silent)
    return replace(_written, folder=place / "workspace")


@pytest.fixture
def story(workspace: Workspace, _released: Written) -> Story:
    """A workspace that remembers the release."""
    return _released.told_in(workspace)


@pytest.fixture
def folder(_released: Written, tmp_path: Path) -> Path:
    """A copy of the release."""
    return Path(shutil.copytree(_released.folder.parent / "release", tmp_path / "release"))


def _first_image(folder: Path) -> Path:
    return folder / read_manifest(folder).images[0].path


def test_a_whole_release_is_proved_and_its_workspace_remembers_it(story: Any, folder: Path) -> None:
    found = verify_release(folder, session=story.ws.session)
    assert found.ok and found.remembered and not found.problems
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert found.num_files == len(files) - 1  # the manifest itself
    assert found.num_bytes == sum(f.stat().st_size for f in files if f.name != "manifest.json")


def test_one_changed_byte_a_missing_and_an_extra_file_are_named(folder: Path) -> None:
    image = _first_image(folder)
    content = bytearray(image.read_bytes())
    content[100] ^= 1
    image.write_bytes(content)
    (folder / "data.csv").unlink()
    (folder / "images" / "notes.txt").write_text("?")
    (folder / "link").symlink_to("README.md")
    found = verify_release(folder)
    assert not found.ok
    assert {(problem.path, problem.kind) for problem in found.problems} == {
        (image.relative_to(folder).as_posix(), "altered"),
        ("data.csv", "missing"),
        ("images/notes.txt", "extra"),
        ("link", "extra"),
    }


def test_a_file_behind_a_link_does_not_count_as_there(folder: Path, tmp_path: Path) -> None:
    (folder / "data.csv").rename(tmp_path / "elsewhere.csv")
    (folder / "data.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert [p.kind for p in verify_release(folder).problems] == ["missing"]


def _rewrite(folder: Path, change: Any) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    change(raw)
    (folder / "manifest.json").write_bytes(manifest_bytes(raw))


def test_a_manifest_altered_with_its_file_is_not_what_the_workspace_remembers(
    story: Any, folder: Path
) -> None:
    def raise_scores(raw: dict[str, Any]) -> None:
        for image in raw["images"]:
            image["score"] = 1.0

    _rewrite(folder, raise_scores)
    assert verify_release(folder).ok  # it proves itself ...
    assert verify_release(folder, session=story.ws.session).remembered is False
    assert not verify_release(folder, session=story.ws.session).ok  # ... but not to its maker


def test_images_that_the_manifest_describes_wrongly_are_named(folder: Path) -> None:
    def swap(raw: dict[str, Any]) -> None:
        one, two = raw["images"][:2]
        one["pixels_sha256"], two["pixels_sha256"] = two["pixels_sha256"], one["pixels_sha256"]
        raw["images"][2]["sha256"] = "0" * 64

    _rewrite(folder, swap)
    kinds = [problem.kind for problem in verify_release(folder).problems]
    assert kinds == ["pixels", "pixels", "altered"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "other"}', b"[1]", b"{"])
def test_a_broken_manifest_is_one_clear_error(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CurateError, match="not a complete manifest.*export the release again"):
        verify_release(folder)


@pytest.mark.parametrize("listed", ["files", "images"])
@pytest.mark.parametrize(
    "path",
    ["../../escaped.png", "/etc/escaped.png", "..\\escaped.png", "C:/escaped.png", "a//b.png", ""],
)
def test_a_manifest_cannot_reach_out_of_its_folder(folder: Path, listed: str, path: str) -> None:
    _rewrite(folder, lambda raw: raw[listed][0].update(path=path))
    with pytest.raises(CurateError, match="not a complete manifest"):
        verify_release(folder)


def test_a_file_in_a_folder_that_is_a_link_does_not_count_as_there(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    kinds = {problem.kind for problem in verify_release(folder).problems}
    assert "missing" in kinds


def test_keys_and_decisions_follow_from_what_they_are_said_to_be_made_of(folder: Path) -> None:
    def forge(raw: dict[str, Any]) -> None:
        one, two, three = raw["images"][:3]
        one["item_key"] = one["item_key"][:-1] + ("0" if one["item_key"][-1] != "0" else "1")
        two["score"] = 0.01
        three["reward_model_id"] = "0" * 64

    _rewrite(folder, forge)
    named = [(p.kind, p.path) for p in verify_release(folder).problems]
    paths = [image.path for image in read_manifest(folder).images[:3]]
    assert named == [("item", paths[0]), ("decision", paths[1]), ("decision", paths[2])]


def test_forged_keys_do_not_hide_a_release_from_the_workspace_that_made_its_images(
    story: Any, folder: Path
) -> None:
    def forge(raw: dict[str, Any]) -> None:
        for image in raw["images"]:
            image["item_key"] = "0" * 64

    _rewrite(folder, forge)
    assert verify_release(folder, session=story.ws.session).remembered is False


@pytest.mark.parametrize("rule", [None, [], 3, "text"])
def test_a_rule_that_is_none_is_reported(folder: Path, rule: Any) -> None:
    _rewrite(folder, lambda raw: raw.update(rule=rule))
    assert [problem.kind for problem in verify_release(folder).problems] == ["decision"]


def test_missing_and_damaged_images_are_listed_and_the_others_made_again(folder: Path) -> None:
    first, second = [folder / image.path for image in read_manifest(folder).images[:2]]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-10])
    found = verify_release(folder, make_again=_from_files(folder))
    assert [problem.kind for problem in found.problems] == ["missing", "altered"]
    assert found.made_again is not None
    assert found.made_again.num_images == len(read_manifest(folder).images) - 2


def _from_files(folder: Path) -> Any:
    return lambda images: (decode((folder / image.path).read_bytes()) for image in images)


def test_no_manifest_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="No manifest.*curate export"):
        verify_release(tmp_path)


def _nudged(array: NDArray[Any], share: float, by: int) -> NDArray[Any]:
    flat = array.copy().ravel()
    count = int(share * flat.size)
    flat[:count] = np.where(flat[:count] < 128, flat[:count] + by, flat[:count] - by)
    return flat.reshape(array.shape)


def test_likeness_says_which_of_the_two_it_is() -> None:
    array = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
    deep = array.astype(np.uint16) * 257

    def compared(one: NDArray[Any], other: NDArray[Any]) -> str:
        return likeness(Sample(one[None]), Sample(other[None]))

    assert compared(array, array.copy()) == "bit-identical"
    assert compared(array, _nudged(array, 1.0, 1)) == "within 1/255"
    assert compared(array, _nudged(array, 0.001, 60)) == "within 1/255"
    assert compared(array, _nudged(array, 0.002, 60)) == "different"
    assert compared(array, _nudged(array, 1.0, 2)) == "different"
    assert compared(array, array[:50]) == "different"
    assert compared(deep, deep + (deep < 60000).astype(np.uint16) * 257) == "within 1/255"
    assert compared(deep, array) == "different"


def test_another_class_or_place_is_different_however_near() -> None:
    array = np.zeros((1, 4, 8, 8), np.int16)
    volume = Sample(array, "HU", (5.0, 1.0, 1.0))
    assert likeness(volume, Sample(array + 1, "HU", (5.0, 1.0, 1.0))) == "within 1/255"
    assert likeness(volume, Sample(array + 2, "HU", (5.0, 1.0, 1.0))) == "different"
    assert likeness(volume, Sample(array, "HU", (2.0, 1.0, 1.0))) == "different"
    classes = array.astype(np.uint8)
    assert likeness(Sample(classes, "labels"), Sample(classes + 1, "labels")) == "different"


def test_images_made_again_are_compared_with_those_of_the_release(story: Any, folder: Path) -> None:
    by_key = {image.item_key: image for image in story.images.values()}

    def again(images: Sequence[ManifestImage], nudge: int) -> Iterable[Sample]:
        for image in images:
            array = array_of(story.ws.store.get(by_key[image.item_key].file_sha256))
            yield Sample((_nudged(array, 1.0, nudge) if image == images[0] else array)[None])

    for nudge, proved in [(0, "bit-identical"), (1, "within 1/255"), (9, "different")]:
        found = verify_release(folder, make_again=partial(again, nudge=nudge), num_again=5)
        assert found.made_again is not None and found.made_again.proved == proved
        assert found.ok == (proved != "different")
        assert found.made_again.num_images == 5 < found.num_images


def test_a_png_of_other_bytes_with_the_same_pixels_is_altered(folder: Path) -> None:
    image = _first_image(folder)
    array = array_of(image.read_bytes())
    other = png_bytes(array) + b"\0"
    image.write_bytes(other)
    assert [problem.kind for problem in verify_release(folder).problems] == ["altered"]
