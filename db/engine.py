"""Engine, migrations and sessions, for SQLite and PostgreSQL alike."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlmodel import Session

from db.errors import ConnectionLost, StoreError
from db.migrations import HEAD

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "RESTORE",
    "Engine",
    "Session",
    "make_engine",
    "make_engine_to_read",
    "migrate",
    "open_dry_session",
    "open_session",
    "require_tables",
]

BUSY_TIMEOUT_MS = 60_000  # a second process waits this long for the writer before it
RESTORE = (
    "Put a copy that `curate backup` made in its place with `curate restore FILE`; the images in "
    "files/ are not touched by that."
)


def make_engine(url: str) -> Engine:
    """Return an engine on `url`; SQLite gets a write-ahead log and its foreign keys switched on."""
    try:
        # pre-ping: a server that was restarted since the last question costs one new connection
        engine = sa.create_engine(url, pool_pre_ping=url.startswith("postgresql"))
    except sa.exc.ArgumentError as error:
        raise StoreError(
            f"{url!r} is not a database URL. Give one like postgresql://user@host/name."
        ) from error
    except ImportError as error:
        raise StoreError(
            f"The driver of {engine_name(url)} is not installed ({error}). "
            "Install it with `pip install 'curate-images[postgres]'`."
        ) from error
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise StoreError(
            f"curate keeps its rows in SQLite or PostgreSQL, not in {engine.dialect.name}. "
            "Give a URL like postgresql://user@host/name."
        )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "handle_error", _explain)
    return engine


def make_engine_to_read(url: str) -> Engine:
    """Return an engine on `url` that cannot write: neither rows nor tables.

    Raises StoreError where the tables are of another version: nothing here would migrate them.
    """
    path = Path(sa.make_url(url).database or "").as_posix()
    is_sqlite = engine_name(url) == "sqlite"
    engine = make_engine(f"sqlite:///file:{quote(path)}?mode=ro&uri=true" if is_sqlite else url)
    engine = engine.execution_options(postgresql_readonly=True)
    if (found := _revision(engine)) != HEAD:
        engine.dispose()
        raise StoreError(
            f"The database's tables are of revision {found}, this curate's of {HEAD}, and reading "
            "them changes nothing. Run a command on it once, such as `curate status`."
        )
    return engine


def engine_name(url: str) -> str:
    """Return the part of a URL before its colon: what may be shown without a password."""
    return url.partition(":")[0]


def open_session(engine: Engine) -> Session:
    """Return a session whose rows stay readable after a commit."""
    return Session(engine, expire_on_commit=False)


@contextmanager
def open_dry_session(engine: Engine) -> Iterator[Session]:
    """Give a session that sees what it writes, even committed; at the end nothing was written."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # else the driver's first savepoint would be outermost
            connection.exec_driver_sql("BEGIN")
        else:
            connection.begin()
        how: Any = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
        with Session(connection, **how) as session:
            yield session
        connection.rollback()


def migrate(engine: Engine) -> None:
    """Bring the database to this version's tables; one that is there already is not locked."""
    found = _revision(engine)
    if found == HEAD:
        return
    import alembic.command  # here: nearly every command finds nothing to do
    from alembic.util import CommandError

    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # else the driver makes tables outside a transaction; a second migrator waits here
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            alembic.command.upgrade(migration_config(connection), "head")
            connection.commit()
    except CommandError as error:
        raise StoreError(
            f"The database is at revision {found}, which this curate does not know. "
            "It was made by a newer one: upgrade with `pip install -U curate-images`."
        ) from error


def require_tables(engine: Engine) -> None:
    """Raise StoreError where nothing was ever made: absence is not taken for a beginning."""
    place = engine.url.database
    if engine.dialect.name == "sqlite" and not (place and Path(place).is_file()):
        raise StoreError(f"The database {place} is not there. {RESTORE}")
    if _revision(engine) is None:
        shown = place if engine.dialect.name == "sqlite" else engine.url.render_as_string()
        raise StoreError(f"The database {shown} is empty: no table of curate is in it. {RESTORE}")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return revision


def migration_config(connection: sa.Connection | None = None) -> "Config":
    """Return Alembic's configuration for the migrations in this package."""
    from alembic.config import Config

    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # else INSERT OR REPLACE would slip past the triggers that keep ratings append-only
    cursor.execute("PRAGMA recursive_triggers = ON")
    cursor.close()


def _explain(context: ExceptionContext) -> None:
    """Turn what an operator can fix (locked, full, gone, not a database) into one line."""
    if context.is_pre_ping:  # the pool sees to it: it connects anew, and that may fail here
        return
    error = context.original_exception
    first_line = str(error).strip().partition("\n")[0]
    if type(error) is sqlite3.DatabaseError:  # no subclass: a torn page, or no database at all
        raise StoreError(f"The database is damaged: {first_line}. {RESTORE}") from error
    if isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
        kind = ConnectionLost if _is_lost(context) else StoreError
        raise kind(
            f"The database refuses: {first_line}. Is it running, is its disk full, does another "
            "program hold it? See `curate doctor`; then run the same command again."
        ) from error


def _is_lost(context: ExceptionContext) -> bool:
    """Say whether the server went away, refuses new connections while it starts, or shuts down."""
    if context.is_disconnect:
        return True
    if context.dialect.name != "postgresql":
        return False
    # no SQLSTATE: the network said it, not the server; 57P: it is shutting down or starting
    state: str | None = getattr(context.original_exception, "sqlstate", None)
    return state is None or state.startswith("57P")
