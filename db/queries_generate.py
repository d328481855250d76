"""What mass production asks of the database: runs, environments and images in bulk."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db import queries
from db.models import (
    Environment,
    File,
    GeneratorVersion,
    Image,
    Prompt,
    PromptCondition,
    Run,
    utc_now,
)


def get_or_add_run(session: Session, run: Run) -> Run:
    """Return the stored run of this plan, adding it first when it is new."""
    known = session.get(Run, run.id)
    if known is not None:
        return known
    session.add(run)
    session.commit()
    return run


def get_or_add_environment(session: Session, environment: Environment) -> str:
    """Return the id of the environment, adding its row when it is new."""
    if session.get(Environment, environment.id) is None:
        session.add(environment)
        session.commit()
    return environment.id


def conditions_of(session: Session, prompt_id: str) -> dict[str, str]:
    """Return a prompt's condition images as {role: SHA-256}."""
    rows = session.exec(select(PromptCondition).where(PromptCondition.prompt_id == prompt_id))
    return {row.role: row.file_sha256 for row in rows}


def prompts_with_conditions(
    session: Session, prompt_ids: Sequence[str]
) -> dict[str, tuple[Prompt, dict[str, str]]]:
    """Return prompts by id, each with its condition images as {role: SHA-256}."""
    rows = session.exec(select(Prompt).where(col(Prompt.id).in_(prompt_ids)))
    found: dict[str, tuple[Prompt, dict[str, str]]] = {row.id: (row, {}) for row in rows}
    conditions = select(PromptCondition).where(col(PromptCondition.prompt_id).in_(prompt_ids))
    for condition in session.exec(conditions):
        found[condition.prompt_id][1][condition.role] = condition.file_sha256
    return found


def add_prompts(session: Session, prompts: Sequence[Prompt]) -> None:
    """Add those of the prompts that are new, in one statement; they have no condition images."""
    queries.insert_new(session, Prompt, [prompt.model_dump() for prompt in prompts])


def add_images(
    session: Session, files: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]]
) -> int:
    """Insert the rows of image files and of the images in one commit; return how many were new.

    An item that another process made meanwhile is left as it is: its key is unique.
    """
    if not images:
        return 0
    now = utc_now()
    unique = {row["sha256"]: {**row, "created_at": now} for row in files}
    queries.insert_new(session, File, list(unique.values()))
    before = _num_known(session, [row["item_key"] for row in images])
    queries.insert_new(session, Image, [{"id": uuid4(), "created_at": now, **r} for r in images])
    session.commit()
    return len(images) - before


def _num_known(session: Session, item_keys: Sequence[str]) -> int:
    known = sa.select(sa.func.count()).where(col(Image.item_key).in_(item_keys))
    return int(session.connection().execute(known).scalar_one())


def num_done_by_prompt(
    session: Session,
    *,
    version_id: str,
    settings_hash: str,
    prompt_ids: Sequence[str],
    low: int,
    high: int,
) -> dict[str, int]:
    """Return for prompts how many seeds from `low` to `high`, both included, have an image.

    Answered by an index alone. A prompt without any is left out.
    """
    rows = session.connection().execute(
        sa.select(col(Image.prompt_id), sa.func.count())
        .where(
            col(Image.version_id) == version_id,
            col(Image.settings_hash) == settings_hash,
            col(Image.prompt_id).in_(prompt_ids),
            col(Image.seed).between(low, high),
        )
        .group_by(col(Image.prompt_id))
    )
    return {prompt_id: number for prompt_id, number in rows}


def images_of_run(session: Session, run: Run, settings_hash: str) -> Sequence[Image]:
    """Return the images of a plan in plan order, whichever run made them first."""
    order = {prompt_id: index for index, prompt_id in enumerate(run.prompt_ids)}
    rows = session.exec(
        select(Image).where(
            Image.version_id == run.version_id,
            Image.settings_hash == settings_hash,
            col(Image.prompt_id).in_(run.prompt_ids),
            col(Image.seed) >= run.first_seed,
            col(Image.seed) < run.first_seed + run.count,
        )
    ).all()
    return sorted(rows, key=lambda image: (order[image.prompt_id], image.seed or 0))


def versions(session: Session) -> Sequence[GeneratorVersion]:
    """Return all generator versions, oldest first."""
    order = (col(GeneratorVersion.created_at), col(GeneratorVersion.id))
    return session.exec(select(GeneratorVersion).order_by(*order)).all()


def num_images_of(session: Session, version_id: str) -> int:
    """Return how many images a version has made."""
    statement = select(sa.func.count()).where(Image.version_id == version_id)
    return session.exec(statement.select_from(Image)).one()
