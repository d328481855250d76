import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.engine import make_engine, migrate
from db.errors import StoreError


def test_sqlite_keeps_a_write_ahead_log_and_its_foreign_keys(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/x.db")
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(sa.text("PRAGMA busy_timeout")).scalar() == 60_000
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("curate.db", "not a database URL"),
        ("mysql+nothing://x", "MySQL|mysql"),
        ("postgresql://nobody@/x?host=/nowhere", "database refuses.*nowhere"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        migrate(make_engine(url))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        migrate(make_engine(f"sqlite:///{tmp_path}/x.db"))


def test_a_locked_database_is_a_line_not_a_traceback(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/x.db")
    migrate(engine)
    other = sqlite3.connect(tmp_path / "x.db")
    other.execute("BEGIN IMMEDIATE")
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA busy_timeout = 1"))
        with pytest.raises(StoreError, match="database is locked"):
            connection.execute(sa.text("DELETE FROM environment"))
    other.close()
    engine.dispose()
