"""Copies of a SQLite database: taken while commands write, checked, and put back."""

import sqlite3
from contextlib import closing
from pathlib import Path

from db.errors import StoreError


def copy_database(source: Path, target: Path) -> None:
    """Write a whole copy by SQLite's online backup, which waits for no writer and misses no commit.

    Raises StoreError where either is no whole database.
    """
    try:
        with closing(_opened(source)) as reading, closing(sqlite3.connect(target)) as writing:
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied to {target}: {error}.") from error
    require_whole(target)


def require_whole(path: Path) -> None:
    """Raise StoreError where this file is not a database of curate, whole in every page."""
    try:
        with closing(_opened(path)) as connection:
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except (sqlite3.Error, OSError, UnicodeError) as error:  # the last: SQLite quotes what it read
        raise StoreError(f"{path} is not a complete curate database ({error}).") from error
    if problems != ["ok"]:
        raise StoreError(f"{path} is damaged ({problems[0]}).")


def _opened(path: Path) -> sqlite3.Connection:
    if not path.is_file():  # SQLite would make one
        raise StoreError(f"There is no file {path}.")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
