"""The audit trail, how many rows there are, and whether the database is whole."""

import getpass
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from db.bulk import insert_new
from db.hashing import json_hash
from db.models import (
    AuditEvent,
    Campaign,
    Comparison,
    GeneratorVersion,
    Image,
    Prompt,
    Rating,
    Release,
    RewardModel,
    Round,
    Score,
)
from db.queries.images import FURTHER


def record_event(session: Session, command: str, details: Mapping[str, Any]) -> None:
    """Write to the audit trail who ran which command with what result, and commit."""
    add_event(session, command, details)
    session.commit()


def add_event(session: Session, command: str, details: Mapping[str, Any]) -> None:
    """Write to the audit trail; whoever goes on writing commits."""
    session.add(AuditEvent(actor=_actor(), command=command, details=dict(details)))


def record_result(
    session: Session, command: str, about: Mapping[str, str], found: Mapping[str, Any]
) -> None:
    """Write to the audit trail what a command led to, unless it says so already, and commit."""
    add_result(session, command, about, found)
    session.commit()


def add_result(
    session: Session, command: str, about: Mapping[str, str], found: Mapping[str, Any]
) -> None:
    """Write what is `found` now of what a command is `about`; whoever goes on writing commits.

    Said once, also by a command that was killed and runs again, and by two at once: the line's id
    is a hash of what it says and of how often something else was said of the same. What is `found`
    must therefore be how things stand (all images of a run), not what this process did.
    """
    details = {**about, **found}
    same = [col(AuditEvent.details)[key].as_string() == value for key, value in about.items()]
    query = select(AuditEvent.details).where(AuditEvent.command == command, *same)
    others = sum(told != details for told in session.exec(query))
    # what was deleted may be made again, and that is worth a line of its own
    prunings = select(sa.func.count()).where(AuditEvent.command == "prune")
    key = json_hash([command, details, others, session.exec(prunings).one()])
    event = AuditEvent(
        id=uuid5(NAMESPACE_OID, key), actor=_actor(), command=command, details=details
    )
    insert_new(session, AuditEvent, [event.model_dump()])


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def file_named(path: Path) -> dict[str, str]:
    """Return what a line of the audit trail is about: a file as it is now.

    A folder is known by the names and lengths of what lies in it.
    """
    if not path.is_dir():
        return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    inside = [(str(p.relative_to(path)), p.stat().st_size) for p in path.rglob("*") if p.is_file()]
    return {"file": path.name, "sha256": json_hash(sorted(inside))}


def details_of(session: Session, command: str) -> list[dict[str, Any]]:
    """Return what the audit trail holds of a command."""
    query = select(AuditEvent).where(AuditEvent.command == command)
    return [dict(event.details) for event in session.exec(query)]


def counts(session: Session) -> dict[str, int]:
    """Return how many rows of each kind there are; at a million images still well under a second.

    Of the images only the real ones are looked for by origin: they are the few. Ratings that count:
    from all answers those are taken off that a later revision has changed, which few have.
    """
    real = select(sa.func.count()).select_from(Image).where(Image.origin == "real")
    real_rows = session.exec(real).one()
    further_captions = session.exec(real.where(col(Image.item_key).startswith(FURTHER))).one()
    tables: dict[str, type[SQLModel]] = {
        "prompts": Prompt,
        "generator_versions": GeneratorVersion,
        "campaigns": Campaign,
        "comparisons": Comparison,
        "reward_models": RewardModel,
        "scores": Score,
        "rounds": Round,
        "releases": Release,
    }
    return {
        "real_images": real_rows - further_captions,
        "synthetic_images": _num_rows(session, Image) - real_rows,
        "ratings": _num_current_ratings(session),
    } | {name: _num_rows(session, table) for name, table in tables.items()}


def _num_current_ratings(session: Session) -> int:
    answers = select(sa.func.count()).select_from(Rating).where(col(Rating.value).is_not(None))
    later = aliased(Rating)
    is_changed = (
        (col(later.assignment_id) == col(Rating.assignment_id))
        & (col(later.criterion_id) == col(Rating.criterion_id))
        & (col(later.revision) > col(Rating.revision))
    )
    changed = (
        select(sa.func.count(sa.distinct(col(Rating.id))))
        .select_from(later)
        .join(Rating, is_changed)
        .where(col(later.revision) > 1, col(Rating.value).is_not(None))
    )
    return session.exec(answers).one() - session.exec(changed).one()


def _num_rows(session: Session, table: type[SQLModel]) -> int:
    return session.exec(select(sa.func.count()).select_from(table)).one()


def database_problems(session: Session) -> list[str]:
    """Return what SQLite finds wrong with its pages and keys; PostgreSQL keeps its own watch."""
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        return []
    pages = connection.execute(sa.text("PRAGMA integrity_check")).scalars().all()
    keys = connection.execute(sa.text("PRAGMA foreign_key_check")).all()
    return [f"integrity: {line}" for line in pages if line != "ok"] + [
        f"table {table}, row {row}: its {parent} is not there" for table, row, parent, _ in keys
    ]
