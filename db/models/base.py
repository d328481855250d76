"""What all tables share: times, the naming of constraints, and rules in SQL."""

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlmodel import Column, Field, SQLModel

# One naming scheme for constraints, so that migrations can name what they change.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware datetime in UTC on every database (SQLite alone would forget the zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> Any:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dt.datetime | None:
        """Return aware UTC."""
        if value is None:
            return None
        aware: dt.datetime = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)


def utc_now() -> dt.datetime:
    """Return the present moment as an aware UTC datetime."""
    return dt.datetime.now(dt.UTC)


def one_of(column: str, allowed: tuple[str, ...]) -> str:
    """Return the rule that a column holds one of these words."""
    names = ", ".join(f"'{name}'" for name in allowed)
    return f"{column} IN ({names})"


def sequence(table: str) -> Any:
    """Number a table's rows in the order they were added: what is latest is no clock's to say."""
    following = sa.text(f"(SELECT coalesce(max(sequence), 0) + 1 FROM {table})")
    column = Column(sa.Integer, nullable=False, default=following, server_default="0")
    return Field(default=None, sa_column=column)
