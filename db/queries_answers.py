"""What a reward model learns from beside ratings: comparisons, and whose images are whose."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from db.models import Assignment, Comparison, Criterion, Image, Prompt, Rater


@dataclass(frozen=True)
class ComparisonView:
    """A comparison that counts: its two images, under one prompt each, and who preferred which."""

    comparison_id: UUID
    left_image_id: UUID
    right_image_id: UUID
    preferred: str  # "left", "right" or "tie"
    rater: str
    expert_level: int
    simulated: bool
    criterion: str
    polarity: str
    campaign_id: UUID
    rated_at: dt.datetime


@dataclass(frozen=True)
class ShownImage:
    """An image as a reward model sees it."""

    image_id: UUID
    file_sha256: str
    prompt_id: str
    modality: str
    text: str
    label: str | None
    patient: str | None


def current_comparisons(session: Session, purposes: Sequence[str]) -> list[ComparisonView]:
    """Return the comparisons that count, of assignments of these purposes, in order of time."""
    later = aliased(Comparison)
    is_changed = sa.exists().where(
        col(later.assignment_id) == col(Comparison.assignment_id),
        col(later.criterion_id) == col(Comparison.criterion_id),
        col(later.revision) > col(Comparison.revision),
    )
    statement: Any = (
        sa.select(
            col(Comparison.id).label("comparison_id"),
            col(Assignment.image_id).label("left_image_id"),
            col(Assignment.other_image_id).label("right_image_id"),
            col(Comparison.preferred),
            col(Rater.name).label("rater"),
            col(Rater.expert_level),
            col(Rater.simulated),
            col(Criterion.name).label("criterion"),
            col(Criterion.polarity),
            col(Assignment.campaign_id),
            col(Comparison.rated_at),
        )
        .join(Assignment, col(Assignment.id) == col(Comparison.assignment_id))
        .join(Criterion, col(Criterion.id) == col(Comparison.criterion_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .where(col(Comparison.preferred).is_not(None), ~is_changed)
        .where(col(Assignment.purpose).in_(purposes))
        .order_by(col(Comparison.rated_at), col(Comparison.id))
    )
    return [ComparisonView(**row._mapping) for row in session.connection().execute(statement)]


def shown_images(session: Session, image_ids: Sequence[UUID]) -> list[ShownImage]:
    """Return these images, in the order of `image_ids`."""
    statement: Any = (
        sa.select(
            col(Image.id).label("image_id"),
            col(Image.file_sha256),
            col(Prompt.id).label("prompt_id"),
            col(Prompt.modality),
            col(Prompt.text),
            col(Prompt.label),
            col(Image.patient),
        )
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(Image.id).in_(sa.bindparam("ids", expanding=True)))
    )
    found: dict[UUID, ShownImage] = {}
    for start in range(0, len(image_ids), 1000):  # SQLite takes 32,766 values a statement
        ids = {"ids": list(image_ids[start : start + 1000])}
        for row in session.connection().execute(statement, ids):
            found[row.image_id] = ShownImage(**row._mapping)
    return [found[image_id] for image_id in image_ids]
