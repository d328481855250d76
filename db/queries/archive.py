"""What was archived, what hangs on it, and taking rows out on which nothing hangs.

An archived thing stays: it is left out of lists and of "latest" until it is taken back, or until it
is removed because no other row needs it.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, select

from db.bulk import in_parts
from db.models import Archived, Campaign, File, GeneratorVersion, Release, Run

# What goes first, so that what it needs may go after it.
KINDS: dict[str, type[SQLModel]] = {
    "release": Release,
    "campaign": Campaign,
    "run": Run,
    "version": GeneratorVersion,
}
# Rows that are part of the row they name, and go with it; any other row holds it back.
PARTS = {
    ("release_decision", "release_id"),
    ("assignment", "campaign_id"),
    ("campaign_practice", "campaign_id"),
    ("sync_mark", "campaign_id"),
    ("image", "run_id"),
    ("score", "image_id"),
    ("standing", "image_id"),
    ("generator_version_file", "version_id"),
}


@dataclass(frozen=True)
class Removal:
    """What goes with one row, and what holds it back."""

    rows: Counter[str]  # by table
    held_by: Counter[str]  # by table
    files: set[str]  # SHA-256 of what they name


def set_archived(session: Session, kind: str, id_: str, *, archived: bool) -> bool:
    """Archive a row or take it back, to be committed; False where it was so already."""
    known = session.get(Archived, (kind, id_))
    if (known is not None) == archived:
        return False
    if known is None:
        session.add(Archived(kind=kind, id=id_))
    else:
        session.delete(known)
    return True


def archived_ids(session: Session, kind: str) -> list[str]:
    """Return the ids of a kind that are archived, first archived first."""
    rows = select(Archived.id).where(Archived.kind == kind)
    return list(session.exec(rows.order_by(col(Archived.at), col(Archived.id))))


def removal_of(session: Session, kind: str, id_: str) -> Removal:
    """Return what goes with this row and what holds it back; nothing is changed."""
    rows: Counter[str] = Counter()
    held_by: Counter[str] = Counter()
    files: set[str] = set()
    for table, where in _with_parts(*_row(kind, id_)):
        rows[table.name] += _count(session, table, where)
        for key in table.foreign_keys:
            if key.column.table.name == File.__tablename__:
                named = sa.select(key.parent).where(where, key.parent.is_not(None))
                files.update(session.connection().execute(named).scalars())
        for child, column in _children(table):
            if (child.name, column.name) not in PARTS:
                held = column.in_(sa.select(_key(table)).where(where))
                held_by[child.name] += _count(session, child, held)
    return Removal(+rows, +held_by, files)  # without zeros


def remove(session: Session, kind: str, id_: str) -> None:
    """Take a row out with its parts; the caller commits."""
    for table, where in reversed(_with_parts(*_row(kind, id_))):
        session.connection().execute(sa.delete(table).where(where))
    mark = session.get(Archived, (kind, id_))
    if mark is not None:
        session.delete(mark)
    session.flush()
    session.expire_all()


def remove_unused_files(session: Session, sha256s: set[str]) -> dict[str, int]:
    """Take out the rows of those files that no row names any more; return {SHA-256: bytes}."""
    file = _table(File)
    unused: dict[str, int] = {}
    for some in in_parts(sorted(sha256s)):
        used: set[str] = set()
        for _, column in _children(file):
            query = sa.select(column).where(column.in_(some)).distinct()
            used.update(session.connection().execute(query).scalars())
        wanted = file.c.sha256.in_(sorted(set(some) - used))
        rows = session.connection().execute(sa.select(file).where(wanted)).all()
        unused |= {row.sha256: row.num_bytes for row in rows}
        session.connection().execute(sa.delete(file).where(wanted))
    session.expire_all()
    return unused


def _row(kind: str, id_: str) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    table = _table(KINDS[kind])
    key = _key(table)
    return table, key == (UUID(id_) if isinstance(key.type, sa.Uuid) else id_)


def _table(model: type[SQLModel]) -> sa.Table:
    return SQLModel.metadata.tables[str(model.__tablename__)]


def _key(table: sa.Table) -> sa.Column[Any]:
    [key] = table.primary_key  # of all tables that have parts
    return key


def _children(table: sa.Table) -> list[tuple[sa.Table, sa.Column[Any]]]:
    """Return the columns of all tables that name a row of this one."""
    return [
        (child, key.parent)
        for child in SQLModel.metadata.sorted_tables
        for key in child.foreign_keys
        if key.column.table is table and key.column.primary_key
    ]


def _with_parts(
    table: sa.Table, where: sa.ColumnElement[bool]
) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Return the rows and, after them, their parts with theirs, as conditions on tables."""
    found = [(table, where)]
    for child, column in _children(table):
        if (child.name, column.name) in PARTS:
            found += _with_parts(child, column.in_(sa.select(_key(table)).where(where)))
    return found


def _count(session: Session, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(where)
    return int(session.connection().execute(query).scalar_one())
