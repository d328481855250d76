"""Runs: plans of images, what of them is done, and where it was done."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.errors import StoreError
from db.hashing import json_hash
from db.models import (
    Archived,
    Environment,
    Image,
    Run,
    utc_now,
)


class Planned(Protocol):
    """A plan of images: a row, or its values."""

    @property
    def version_id(self) -> str:
        """Return the version that makes them."""
        ...

    @property
    def prompt_ids(self) -> Sequence[str]:
        """Return the prompts in plan order."""
        ...

    @property
    def count(self) -> int:
        """Return how many images a prompt gets."""
        ...

    @property
    def first_seed(self) -> int:
        """Return the seed of each prompt's first image."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the sampling settings as JSON."""
        ...


def get_or_add_run(session: Session, run: Run) -> Run:
    """Return the stored run of this plan, adding it first when it is new."""
    known = session.get(Run, run.id)
    if known is not None:
        return known
    session.add(run)
    session.commit()
    return run


def add_made_elsewhere(session: Session, run: Run, images: Sequence[Mapping[str, Any]]) -> None:
    """Add a run and all its images in one commit: it is there whole, or not at all."""
    session.add(run)
    session.flush()
    now = utc_now()
    insert_new(session, Image, [{"id": uuid4(), "created_at": now, **image} for image in images])
    session.commit()


def last_run(session: Session) -> Run | None:
    """Return the run that was planned last."""
    archived = select(Archived.id).where(Archived.kind == "run")
    present = select(Run).where(col(Run.id).not_in(archived))
    return session.exec(present.order_by(col(Run.sequence).desc())).first()


def find_run(session: Session, name: str) -> Run:
    """Return the run whose id begins with `name`; StoreError where none or several do."""
    found = session.exec(select(Run).where(col(Run.id).startswith(name))).all() if name else []
    if len(found) != 1:
        raise StoreError(
            f"{len(found) or 'No'} runs begin with {name!r}. Give the first digits of one, as "
            "`curate runs list` shows them."
        )
    return found[0]


def num_items_done(session: Session, run: Planned) -> int:
    """Count the items of a plan that have an image, whichever run made it."""
    statement = select(sa.func.count()).where(
        Image.version_id == run.version_id,
        Image.settings_hash == json_hash(dict(run.settings)),
        col(Image.seed).between(run.first_seed, run.first_seed + run.count - 1),
    )
    return sum(
        session.exec(statement.where(col(Image.prompt_id).in_(some))).one()
        for some in in_parts(run.prompt_ids)
    )


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


def seeds_done(
    session: Session, *, version_id: str, prompt_id: str, settings_hash: str, low: int, high: int
) -> set[int]:
    """Return which seeds from `low` to `high`, both included, have an image of this item."""
    rows = session.exec(
        select(Image.seed).where(
            Image.version_id == version_id,
            Image.settings_hash == settings_hash,
            Image.prompt_id == prompt_id,
            col(Image.seed).between(low, high),
        )
    )
    return {seed for seed in rows if seed is not None}


def images_of_run(session: Session, run: Planned, settings_hash: str) -> Sequence[Image]:
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


def get_or_add_environment(session: Session, environment: Environment) -> str:
    """Return the id of the environment, adding its row when it is new."""
    if session.get(Environment, environment.id) is None:
        session.add(environment)
        session.commit()
    return environment.id


def environments(session: Session, ids: Collection[str]) -> dict[str, Environment]:
    """Return environments by id."""
    rows = session.exec(select(Environment).where(col(Environment.id).in_(sorted(ids))))
    return {row.id: row for row in rows}
