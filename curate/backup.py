"""`curate backup` and `curate restore`: the rows of a workspace, saved and put back.

Files need no such copy: they are never changed, and any tool copies `files/`.
"""

import datetime as dt
from pathlib import Path

from curate.errors import CurateError
from curate.workspace import DATABASE, locked_workspace, open_workspace, read_settings
from db.backup import copy_database, require_whole
from db.folders import sync, unfinished_folder

BESIDE = ("", "-wal", "-shm")  # what SQLite keeps beside a database belongs to it


def backup(folder: Path, target: Path) -> int:
    """Copy the workspace's database to a new file while commands may write; return its bytes.

    Raises CurateError where the file is there, or where the rows are in PostgreSQL.
    """
    with open_workspace(folder) as ws:  # a damaged or missing database is refused here
        source = ws.folder / DATABASE
        _refuse_a_server(ws.folder)
    if target.exists():
        raise CurateError(f"{target} already exists. Name a new file.")
    with unfinished_folder(target.absolute().parent, f".{target.name}.partial-") as aside:
        copy_database(source, aside / DATABASE)
        sync([str(aside / DATABASE)])
        (aside / DATABASE).rename(target)
    return target.stat().st_size


def restore(folder: Path, source: Path) -> Path | None:
    """Put a copy in the place of the workspace's database; return where the old one was moved.

    Nothing is deleted. Raises CurateError where another command is at work, and StoreError where
    the copy is not whole.
    """
    with locked_workspace(folder) as root:
        _refuse_a_server(root)
        require_whole(source)
        with unfinished_folder(root, ".restore.partial-") as aside:
            copy_database(source, aside / DATABASE)
            sync([str(aside / DATABASE)])
            there = [path for end in BESIDE if (path := root / f"{DATABASE}{end}").exists()]
            place = root / "quarantine" / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"
            if there:
                place.mkdir(parents=True)
            for path in there:  # the database first: killed, what is left beside it opens nothing
                path.rename(place / path.name)
            (aside / DATABASE).rename(root / DATABASE)
    return place if there else None


def _refuse_a_server(root: Path) -> None:
    url = read_settings(root).database_url
    if url is not None and not url.startswith("sqlite"):
        raise CurateError(
            "The database is on a server: use the server's own tools, such as pg_dump."
        )
