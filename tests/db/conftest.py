"""Every test of the database runs on SQLite and on a real PostgreSQL from a wheel."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from db.engine import Engine, Session, make_engine, migrate, open_session
from tests.postgres import start_postgres_or_skip


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The server that a process's tests share."""
    server = start_postgres_or_skip()
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # it lives minutes
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where databases can be made: `{name}` stands for one."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url.replace("/postgres?", "/{name}?")
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/{{name}}.db"


@pytest.fixture
def empty_engine(server_url: str) -> Iterator[Engine]:
    """An engine on a database without tables."""
    yield from _new_database(server_url)


@pytest.fixture(scope="session")
def migrated_engine(server_url: str) -> Iterator[Engine]:
    """An engine on a database with all tables, shared: leave nothing in it."""
    for engine in _new_database(server_url):
        migrate(engine)
        yield engine


@pytest.fixture
def session(migrated_engine: Engine) -> Iterator[Session]:
    """A session whose commits are taken back after the test."""
    with migrated_engine.connect() as connection:
        transaction = connection.begin()
        if migrated_engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # the driver begins none before a savepoint
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        transaction.rollback()


@pytest.fixture
def two_sessions(empty_engine: Engine) -> Iterator[tuple[Session, Session]]:
    """Two processes' sessions on one database with all tables."""
    migrate(empty_engine)
    with open_session(empty_engine) as first, open_session(empty_engine) as second:
        yield first, second


def _new_database(server_url: str) -> Iterator[Engine]:
    name = f"curate_{uuid4().hex[:12]}"
    if server_url.startswith("postgresql"):
        server = make_engine(server_url.format(name="postgres"))
        with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        server.dispose()
    engine = make_engine(server_url.format(name=name))
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a store."""
    return tmp_path / "files"
