"""Two test processes that want one folder at once both find it whole, and it is made once."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from tests.whole import made_once

CONTEXT = multiprocessing.get_context("spawn")


def make_tables(folder: Path) -> None:
    """Fail where somebody else makes them in the same place, as Label Studio's migrations do."""
    with sqlite3.connect(folder / "tables.sqlite3") as database:
        for number in range(200):
            database.execute(f"CREATE TABLE t{number} (id INTEGER)")
    database.close()


def want(folder: Path, together: "multiprocessing.synchronize.Barrier") -> None:
    together.wait()
    with sqlite3.connect(made_once(folder, make_tables) / "tables.sqlite3") as database:
        ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
    database.close()
    assert tables == 200


def test_two_processes_at_once_find_it_whole(tmp_path: Path) -> None:
    together = CONTEXT.Barrier(2)
    processes = [
        CONTEXT.Process(target=want, args=(tmp_path / "cache" / "shared", together))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def test_what_was_left_half_made_is_made_anew_and_what_is_whole_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "shared"

    def fail(aside: Path) -> None:
        (aside / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        made_once(folder, fail)
    assert not folder.exists()
    made_once(folder, lambda aside: (aside / "all").touch())
    assert [path.name for path in made_once(folder, fail).iterdir()] == ["all"]
