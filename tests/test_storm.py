"""What the storm compares: a place that lost, doubled or changed anything is not the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.storm_compare import _look, differences
from benchmarks.storm_places import Place
from curate.workspace import open_workspace
from db import queries
from tests.curate.pictures import add_pictures


@pytest.fixture
def place(tmp_path: Path, _empty_workspace: Path) -> Place:
    """A workspace of three images, a table beside it."""
    return made(tmp_path / "one", _empty_workspace)


def made(folder: Path, empty: Path) -> Place:
    shutil.copytree(empty, folder / "ws")
    with open_workspace(folder / "ws") as ws:
        add_pictures(ws, 3)
    (folder / "data.csv").write_text("made 2026-01-05 08:00:00\n")
    return Place(folder, folder.parent)


def look(place: Place) -> dict[str, Any]:
    """Look in this process: coverage of its own, and no second to start another."""
    found = place.talk / "found.json"
    _look(place, found)
    state: dict[str, Any] = json.loads(found.read_text())
    return state


def test_two_that_differ_in_random_ids_and_times_are_the_same(
    place: Place, tmp_path: Path, _empty_workspace: Path
) -> None:
    other = made(tmp_path / "other", _empty_workspace)
    (other.folder / "data.csv").write_text("made 2027-12-31 23:59:59\n")
    assert differences(look(other), look(place)) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("file", "doctor: missing"),
        ("row", "lost: image: "),
        ("doubled row", "more: image: "),
        ("bytes", "other bytes: data.csv"),
        ("left", "more: ws/cache/left.tmp"),
    ],
)
def test_what_is_lost_doubled_left_or_changed_is_found(place: Place, harm: str, said: str) -> None:
    expected = look(place)
    with open_workspace(place.workspace) as ws:
        image, _ = queries.images.images(ws.session)[0]
        if harm == "file":
            ws.store.delete(image.file_sha256)
        elif harm == "row":
            ws.session.delete(image)
        elif harm == "doubled row":
            add_pictures(ws, 1)
    if harm == "bytes":
        (place.folder / "data.csv").write_text("something else\n")
    elif harm == "left":
        (place.workspace / "cache" / "left.tmp").touch()
    found = differences(look(place), expected)
    assert any(line.startswith(said) for line in found), found


def test_what_could_not_be_looked_at_is_not_the_same() -> None:
    assert differences({"unseen": "no database"}, {"unseen": "no database"}) != []
