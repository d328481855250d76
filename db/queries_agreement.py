"""What the worth of ratings is measured on: every verdict that counts, with its look."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from db.models import Assignment, Comparison, Criterion, Image, Rater, Rating


@dataclass(frozen=True)
class Look:
    """One rater's verdict for one criterion, after one look at an image or a pair."""

    assignment_id: UUID
    campaign_id: UUID
    rater: str
    expert_level: int
    simulated: bool
    criterion: str
    kind: str  # "scale", or "origin" (1 looks real, 2 synthetic, 3 unsure)
    min_value: int
    max_value: int
    polarity: str
    purpose: str
    image_id: UUID
    other_image_id: UUID | None  # of a pair: the right one
    origin: str
    spoiled: str | None
    verdict: int | str  # of an image its value; of a pair "left", "right" or "tie"
    lead_time_s: float | None  # as the browser claims
    rated_at: dt.datetime


def looks(session: Session, campaign_id: UUID | None = None) -> list[Look]:
    """Return the verdicts that count, oldest first: last revisions, those withdrawn left out."""
    return [
        *_looks(session, Rating, col(Rating.value), campaign_id),
        *_looks(session, Comparison, col(Comparison.preferred), campaign_id),
    ]


def _looks(session: Session, table: Any, verdict: Any, campaign_id: UUID | None) -> list[Look]:
    later = aliased(table)
    is_changed = sa.exists().where(
        later.assignment_id == table.assignment_id,
        later.criterion_id == table.criterion_id,
        later.revision > table.revision,
    )
    statement = (
        sa.select(*_LOOK, verdict.label("verdict"), table.lead_time_s, table.rated_at)
        .join(Assignment, col(Assignment.id) == table.assignment_id)
        .join(Criterion, col(Criterion.id) == table.criterion_id)
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .where(verdict.is_not(None), ~is_changed)
        .order_by(table.rated_at, table.id)
    )
    if campaign_id is not None:
        statement = statement.where(col(Assignment.campaign_id) == campaign_id)
    return [Look(**row._mapping) for row in session.connection().execute(statement)]


_LOOK: tuple[Any, ...] = (
    col(Assignment.id).label("assignment_id"),
    col(Assignment.campaign_id),
    col(Rater.name).label("rater"),
    col(Rater.expert_level),
    col(Rater.simulated),
    col(Criterion.name).label("criterion"),
    col(Criterion.kind),
    col(Criterion.min_value),
    col(Criterion.max_value),
    col(Criterion.polarity),
    col(Assignment.purpose),
    col(Assignment.image_id),
    col(Assignment.other_image_id),
    col(Image.origin),
    col(Assignment.spoiled),
)
