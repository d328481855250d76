"""A database that is gone, empty or damaged is named, never made anew; a backup brings it back."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from curate.workspace import Workspace
from db import queries

COMMANDS = (["status"], ["doctor"], ["generators", "list"], ["rate", "status"], ["report"])


def _run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, [*arguments, "--workspace", str(folder)])


@pytest.fixture
def folder(workspace: Workspace, tmp_path: Path) -> Path:
    """A workspace with 200 prompts that no command has open."""
    for number in range(200):
        queries.prompts.get_or_add_prompt(
            workspace.session, modality="OCT", text=f"finding {number}"
        )
    workspace.session.commit()
    workspace.session.close()
    with closing(sqlite3.connect(workspace.folder / "curate.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copytree(workspace.folder, tmp_path / "alone"))


def _names(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir()]
    return sorted(name for name in names if not name.endswith(("-wal", "-shm")))


def _num_prompts(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "curate.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM prompt").fetchone()[0])


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("state", ["gone", "empty", "cut off"])
def test_every_command_says_in_one_line_that_the_database_is_not_whole(
    folder: Path, state: str, arguments: list[str]
) -> None:
    database = folder / "curate.db"
    if state == "gone":
        database.unlink()
    elif state == "empty":
        database.write_bytes(b"")
    else:
        database.write_bytes(database.read_bytes()[:20_000])
    before = sorted(
        path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))
    )
    result = _run(folder, *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: The database"), result.output
    assert "curate restore" in result.output
    assert result.output.count("\n") == 1
    after = sorted(
        path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))
    )
    assert after == before  # and nothing was made


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_ends_in_one_line_or_not_at_all(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray((folder / "curate.db").read_bytes())
    for _ in range(200):
        content[draw.randrange(100, len(content))] = draw.randrange(256)
    (folder / "curate.db").write_bytes(content)
    for arguments in (["status"], ["doctor"], ["generators", "list"]):
        result = _run(folder, *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_backup_brings_the_rows_back_and_moves_the_damaged_file_away(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    assert _run(folder, "backup", str(copy)).exit_code == 0
    damaged = (folder / "curate.db").read_bytes()[:30_000]
    (folder / "curate.db").write_bytes(damaged)
    result = _run(folder, "restore", str(copy))
    assert result.exit_code == 0, result.output
    assert _num_prompts(folder) == 200
    [moved] = (folder / "quarantine").glob("*/curate.db")
    assert moved.read_bytes() == damaged
    assert _run(folder, "doctor").exit_code == 0


def test_a_backup_holds_what_was_committed_a_moment_ago(
    workspace: Workspace, tmp_path: Path
) -> None:
    queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    workspace.session.commit()  # in the write-ahead log; this connection stays open
    assert _run(workspace.folder, "backup", str(tmp_path / "copy.db")).exit_code == 0
    shutil.copy(tmp_path / "copy.db", tmp_path / "curate.db")
    assert _num_prompts(tmp_path) == 1


def test_what_is_no_whole_copy_is_not_restored(folder: Path, tmp_path: Path) -> None:
    for content in (b"", b"not a database" * 1000, (folder / "curate.db").read_bytes()[:30_000]):
        (tmp_path / "bad.db").write_bytes(content)
        result = _run(folder, "restore", str(tmp_path / "bad.db"))
        assert result.exit_code == 1 and result.output.startswith("Error: ")
        assert _num_prompts(folder) == 200
    assert not (folder / "quarantine").exists()


def test_a_backup_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_bytes(b"mine")
    assert "exists. Name a new file" in _run(folder, "backup", str(tmp_path / "copy.db")).output
    assert (tmp_path / "copy.db").read_bytes() == b"mine"
