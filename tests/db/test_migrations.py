from pathlib import Path

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel, select

from db.engine import Engine, make_engine, migrate, migration_config, open_session
from db.errors import StoreError
from db.migrations import HEAD
from db.models import PromptCondition
from tests.db.rows import sha


def test_migrating_an_empty_database_gives_the_tables_of_the_models(empty_engine: Engine) -> None:
    migrate(empty_engine)
    with empty_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrating_gives_the_checks_of_the_models_too(empty_engine: Engine) -> None:
    migrate(empty_engine)
    inspector = sa.inspect(empty_engine)  # Alembic compares no CHECKs
    for name, table in SQLModel.metadata.tables.items():
        declared = {
            str(check.name) for check in table.constraints if isinstance(check, sa.CheckConstraint)
        }
        assert {check["name"] for check in inspector.get_check_constraints(name)} == declared


def test_what_was_migrated_can_be_undone(empty_engine: Engine) -> None:
    migrate(empty_engine)
    with empty_engine.connect() as connection:
        alembic.command.downgrade(migration_config(connection), "base")
        connection.commit()
    assert sa.inspect(empty_engine).get_table_names() == ["alembic_version"]
    migrate(empty_engine)


def test_the_newest_revision_is_the_one_that_is_looked_for() -> None:
    assert ScriptDirectory.from_config(migration_config()).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(empty_engine: Engine) -> None:
    migrate(empty_engine)
    migrate(empty_engine)


def test_a_database_of_a_newer_curate_is_refused_with_advice(empty_engine: Engine) -> None:
    migrate(empty_engine)
    with empty_engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="revision 9999.*newer.*pip install -U"):
        migrate(empty_engine)


def test_a_migration_that_fails_leaves_no_table_behind(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/broken.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE score (id INTEGER)"))  # in the migration's way
    with pytest.raises(StoreError, match="score already exists"):
        migrate(engine)
    assert sa.inspect(engine).get_table_names() == ["score"]
    engine.dispose()


def test_condition_images_of_before_are_kept_when_roles_become_free(empty_engine: Engine) -> None:
    moment = "2026-01-01 00:00:00+00:00"
    with empty_engine.connect() as connection:
        alembic.command.upgrade(migration_config(connection), "0003")
        for insert in (
            f"INSERT INTO file VALUES ('{sha('a')}', 1, 'image/png', '{moment}')",
            f"INSERT INTO prompt VALUES ('{sha('c')}', 'OCT', 'drusen', NULL, '{{}}', '{moment}')",
            f"INSERT INTO prompt_condition VALUES ('{sha('c')}', 'mask', '{sha('a')}')",
        ):
            connection.execute(sa.text(insert))
        connection.commit()
    migrate(empty_engine)
    with open_session(empty_engine) as session:
        [kept] = session.exec(select(PromptCondition)).all()
        assert (kept.prompt_id, kept.role, kept.file_sha256) == (sha("c"), "mask", sha("a"))
        assert kept.image_id is None
