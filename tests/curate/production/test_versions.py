"""What is opened is what was saved: caches are checked, saved folders are whole."""

import os
import signal
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.production import versions
from curate.production.versions import load_version, save_merged, save_version, version_folder
from curate.verified import damaged_files, verified_path
from curate.workspace import Workspace, open_workspace
from db import queries
from db.errors import StoreError
from db.models import GeneratorVersion
from generators.base import Generator
from tests.children import ended


@pytest.fixture
def version(workspace: Workspace, tiny_generator: Generator, tmp_path: Path) -> GeneratorVersion:
    tiny_generator.save(tmp_path / "tiny")
    return save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_damaged_weights_in_the_cache_are_not_opened_but_filled_again(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    folder = version_folder(workspace, version.id)
    whole = _contents(folder)
    [weights] = (folder / "unet").glob("*.safetensors")
    _flip(weights, -100)
    (folder / "model_index.json").unlink()
    assert _contents(version_folder(workspace, version.id)) == whole
    load_version(workspace, version.id)
    assert [path.name for path in folder.parent.iterdir()] == [version.id]  # and no leftovers


def test_a_file_that_was_checked_is_read_again_only_when_it_changed(
    workspace: Workspace, version: GeneratorVersion
) -> None:
    path = workspace.store.local_path(
        queries.versions.version_files(workspace.session, version.id).popitem()[1]
    )
    sha256 = path.name
    assert damaged_files(workspace, {path: sha256}) == []
    assert damaged_files(workspace, {path: "0" * 64}) == [path]  # the hash asked for counts too
    status = path.stat()
    _flip(path, 0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert damaged_files(workspace, {path: sha256}) == [path]


def test_a_damaged_reward_model_is_not_opened(workspace: Workspace) -> None:
    [sha256] = queries.files.add_files(workspace.session, workspace.store, [(b"heads", "x/y")])
    assert verified_path(workspace, sha256).read_bytes() == b"heads"
    path = workspace.store.local_path(sha256)
    path.write_bytes(b"heaps")
    with pytest.raises(StoreError, match="damaged.*curate doctor"):
        verified_path(workspace, sha256)


def test_a_version_saved_twice_is_there_already(
    workspace: Workspace, version: GeneratorVersion, tmp_path: Path
) -> None:
    assert save_merged(workspace, version.id, tmp_path / "saved")
    whole = _contents(tmp_path / "saved")
    assert not save_merged(workspace, version.id, tmp_path / "saved")
    assert _contents(tmp_path / "saved") == whole
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    with pytest.raises(CurateError, match="contains other files"):
        save_merged(workspace, version.id, tmp_path / "saved")


def save_and_die(folder: Path, version_id: str, target: Path) -> None:
    """Save a version, and end by SIGKILL before what was written aside gets its name."""
    versions.publish_folder = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
    with open_workspace(folder) as ws:
        save_merged(ws, version_id, target)


@pytest.mark.slow
def test_a_killed_save_leaves_weights_aside_that_the_next_one_removes(
    workspace: Workspace, version: GeneratorVersion, tmp_path: Path
) -> None:
    version_folder(workspace, version.id)
    workspace.session.commit()
    target = tmp_path / "out" / "saved"
    assert ended(save_and_die, workspace.folder, version.id, target) == -signal.SIGKILL
    assert [path.name[:14] for path in target.parent.iterdir()] == [".saved.partial"]
    assert save_merged(workspace, version.id, target)
    assert [path.name for path in target.parent.iterdir()] == ["saved"]
