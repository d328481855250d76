"""What is latest is what was added last, whatever the clock said: it may stand still or go back."""

import datetime as dt
from typing import Any
from uuid import uuid4

import alembic.command
import pytest
import sqlalchemy as sa

from db import queries
from db.engine import Engine, Session, migrate, migration_config, open_session
from db.models import Campaign, Release, RewardModel, Round, Run
from tests.db.rows import MOMENT, insert, sha, valid_rows

CLOCKS = {"stands still": MOMENT, "goes back": MOMENT - dt.timedelta(days=1)}


@pytest.fixture(params=list(CLOCKS))
def later(request: pytest.FixtureRequest) -> dt.datetime:
    """What the clock says when the second of two rows is added."""
    return CLOCKS[request.param]


@pytest.fixture
def rows(session: Session) -> dict[str, dict[str, Any]]:
    """One row of every table, inserted at one moment."""
    known = valid_rows()
    for name, row in known.items():
        if "created_at" in row:
            row["created_at"] = MOMENT
        insert(session, name, row)
    return known


def test_the_latest_version_was_added_last(
    session: Session, rows: dict[str, dict[str, Any]], later: dt.datetime
) -> None:
    added = queries.versions.add_generator_version(
        session, generator_name="g", family="text-to-image", files={"x": sha("a")}, how_made="x"
    )
    added.created_at = later
    session.commit()
    assert queries.versions.find_version(session, "latest").id == added.id
    assert [version.id for version in queries.versions.versions(session)] == [sha("d"), added.id]


def test_a_version_its_line_and_nothing_else_come_in_one_commit(
    session: Session, rows: dict[str, dict[str, Any]]
) -> None:
    told = queries.versions.MadeOf(parent_id=sha("d"), told={"updates": 3})
    seen: list[tuple[int, int]] = []

    def look(session: Session) -> None:
        versions = len(queries.versions.versions(session))
        seen.append((versions, len(queries.audit.details_of(session, "rl-step"))))

    sa.event.listen(session, "before_commit", look)
    for _ in range(2):  # the same weights once more
        queries.versions.add_generator_version(
            session,
            generator_name="g",
            family="text-to-image",
            files={"x": sha("a")},
            how_made="rl-step",
            made_of=told,
        )
    assert seen == [(2, 1), (2, 1)]


def test_the_last_run_was_planned_last(
    session: Session, rows: dict[str, dict[str, Any]], later: dt.datetime
) -> None:
    run = Run(**{**rows["run"], "id": sha("0"), "created_at": later})
    assert queries.runs.get_or_add_run(session, run).sequence == 2
    found = queries.runs.last_run(session)
    assert found is not None and found.id == sha("0")


def test_the_latest_reward_model_and_release_were_added_last(
    session: Session, rows: dict[str, dict[str, Any]], later: dt.datetime
) -> None:
    model = RewardModel(**{**rows["reward_model"], "id": sha("0"), "created_at": later})
    queries.reward_models.add_reward_model(session, model, {})
    assert queries.reward_models.find_reward_model(session).id == sha("0")
    release = Release(**{**rows["release"], "id": sha("1"), "name": "v2", "created_at": later})
    queries.releases.add_release(session, release, [])
    assert [row.name for row in queries.releases.releases(session)] == ["v1", "v2"]


def test_campaigns_and_rounds_keep_the_order_in_which_they_began(
    session: Session, rows: dict[str, dict[str, Any]], later: dt.datetime
) -> None:
    campaign = Campaign(
        **{
            **rows["campaign"],
            "id": uuid4(),
            "name": "a",
            "created_at": later,
        }
    )
    queries.campaigns.add_campaign(session, campaign, [])
    assert [row.name for row in queries.campaigns.campaigns(session)] == ["c", "a"]
    made = {"base_version_id": sha("d"), "start_version_id": sha("d"), "new_version_id": sha("d")}
    for number in (2, 3):
        queries.rounds.add_round(session, loop_name="l", number=number, **made, created_at=later)
    first = queries.rounds.rounds_that_made(session, [sha("d")])[sha("d")]
    assert isinstance(first, Round) and first.number == 2


def test_rows_of_before_keep_the_order_of_their_clock(empty_engine: Engine) -> None:
    moment = "2026-01-0{day} 00:00:00+00:00"
    with empty_engine.connect() as connection:
        alembic.command.upgrade(migration_config(connection), "0004")
        connection.execute(
            sa.text(f"INSERT INTO generator VALUES ('g', 'x', '{moment.format(day=1)}')")
        )
        for digit, day in (("a", 3), ("b", 1), ("c", 2)):
            connection.execute(
                sa.text(
                    "INSERT INTO generator_version (id, generator_name, weights, how_made, config, "
                    "metrics, created_at) VALUES "
                    f"('{sha(digit)}', 'g', 'full', 'x', '{{}}', '{{}}', "
                    f"'{moment.format(day=day)}')"
                )
            )
        connection.commit()
    migrate(empty_engine)
    with open_session(empty_engine) as session:
        found = queries.versions.versions(session)
        assert [(row.id, row.sequence) for row in found] == [
            (sha("b"), 1),
            (sha("c"), 2),
            (sha("a"), 3),
        ]
