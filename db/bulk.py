"""Many rows in few statements."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

MAX_IN = 10_000  # SQLite takes 32,766 values a statement, PostgreSQL 65,535


def insert_new(session: Session, model: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, passing over those whose key is there already, also from another process."""
    if not rows:
        return
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    table: sa.Table = model.__table__  # type: ignore[attr-defined]
    connection.execute(insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])


Value = TypeVar("Value")


def in_parts(values: Sequence[Value]) -> Iterator[list[Value]]:
    """Yield the values, each once and in order, in parts that fit into one `IN (...)`."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), MAX_IN):
        yield distinct[start : start + MAX_IN]
