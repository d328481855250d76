"""Studies of patients, and journeys from one image of a patient to a later one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.models import Image, ImageStudy, Journey, Prompt


@dataclass(frozen=True)
class Pair:
    """A journey with both of its images and studies."""

    journey: Journey
    prior: Image
    new: Image
    before: ImageStudy
    after: ImageStudy
    modality: str


def add_studies(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add what images are of; an image keeps what was said of it first."""
    insert_new(session, ImageStudy, rows)


def add_journeys(session: Session, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add the journeys that are new, and commit; return how many those were."""
    known = set(session.exec(select(Journey.prior_image_id, Journey.new_image_id)).all())
    new = [row for row in rows if (row["prior_image_id"], row["new_image_id"]) not in known]
    empty = {column.name: None for column in Journey.__table__.columns}  # type: ignore[attr-defined]
    insert_new(
        session, Journey, [{**empty, "id": uuid4(), "text_details": {}, **row} for row in new]
    )
    session.commit()
    return len(new)


def journeys(
    session: Session, *, split: str | None = None, kept: bool = False, described: bool = False
) -> list[Pair]:
    """Return journeys by patient and time: all, or of one split, or those fit to be learned."""
    prior: Any = aliased(Image)
    new: Any = aliased(Image)
    before: Any = aliased(ImageStudy)
    after: Any = aliased(ImageStudy)
    query: Any = (
        sa.select(Journey, prior, new, before, after, col(Prompt.modality))
        .join(prior, prior.id == col(Journey.prior_image_id))
        .join(new, new.id == col(Journey.new_image_id))
        .join(before, before.image_id == prior.id)
        .join(after, after.image_id == new.id)
        .join(Prompt, col(Prompt.id) == new.prompt_id)
        .order_by(col(Journey.patient), after.position, col(Journey.id))
    )
    if split is not None:
        query = query.where(col(Journey.split) == split)
    if kept:
        query = query.where(col(Journey.refused).is_(None))
    if described:
        query = query.where(col(Journey.text).is_not(None), col(Journey.text) != "")
    return [Pair(*row) for row in session.exec(query)]


def update_journeys(session: Session, changes: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Set columns of journeys, and commit."""
    for some in in_parts(list(changes)):
        for row in session.exec(select(Journey).where(col(Journey.id).in_(some))):
            for name, value in changes[row.id].items():
                setattr(row, name, value)
            session.add(row)
    session.commit()
