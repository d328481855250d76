"""What raters answered: ratings and comparisons that count, and answers as they come in."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.models import (
    Assignment,
    Campaign,
    Comparison,
    Criterion,
    Image,
    Prompt,
    QuarantinedAnswer,
    Rater,
    Rating,
    SyncMark,
)

Verdict = Rating | Comparison  # of one image, or of a pair


@dataclass(frozen=True)
class RatingView:
    """A rating that counts, with what it is about and who gave it."""

    rating_id: UUID
    image_id: UUID
    prompt_id: str
    modality: str
    text: str
    label: str | None
    rater: str
    expert_level: int
    simulated: bool
    criterion: str
    value: int
    min_value: int
    max_value: int
    polarity: str
    purpose: str
    campaign_id: UUID
    file_sha256: str
    version_id: str | None
    origin: str
    rated_at: dt.datetime
    kind: str = "scale"  # of the criterion; or "origin" (1 looks real, 2 synthetic, 3 unsure)
    spoiled: str | None = None  # a known-bad control: how the image was spoiled before it was shown


def goodness(view: RatingView) -> int:
    """Return the value with the better end up, on the same scale."""
    if view.polarity == "higher":
        return view.value
    return view.min_value + view.max_value - view.value


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


def current_ratings(
    session: Session,
    *,
    campaign_id: UUID | None = None,
    purposes: Sequence[str] | None = None,
    kinds: Sequence[str] = ("scale",),
    spoiled: bool = False,
) -> list[RatingView]:
    """Return the ratings that count: each the last revision of its answer, and not withdrawn.

    Left out unless asked for: other kinds of question than how good an image is, and verdicts on
    images that were `spoiled` before they were shown, which say nothing of the images.
    """
    statement = (
        sa.select(*_RATING_VIEW)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(_counts_now(), col(Criterion.kind).in_(kinds))
        .order_by(col(Rating.rated_at), col(Rating.id))
    )
    if not spoiled:
        statement = statement.where(col(Assignment.spoiled).is_(None))
    if campaign_id is not None:
        statement = statement.where(col(Assignment.campaign_id) == campaign_id)
    if purposes is not None:
        statement = statement.where(col(Assignment.purpose).in_(purposes))
    rows = session.connection().execute(statement)
    return [RatingView(**row._mapping) for row in rows]


_RATING_VIEW: tuple[Any, ...] = (
    col(Rating.id).label("rating_id"),
    col(Image.id).label("image_id"),
    col(Prompt.id).label("prompt_id"),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Rater.name).label("rater"),
    col(Rater.expert_level),
    col(Rater.simulated),
    col(Criterion.name).label("criterion"),
    col(Rating.value),
    col(Criterion.min_value),
    col(Criterion.max_value),
    col(Criterion.polarity),
    col(Assignment.purpose),
    col(Assignment.campaign_id),
    col(Image.file_sha256),
    col(Image.version_id),
    col(Image.origin),
    col(Rating.rated_at),
    col(Criterion.kind),
    col(Assignment.spoiled),
)


def _counts_now() -> sa.ColumnElement[bool]:
    later = aliased(Rating)
    is_changed = sa.exists().where(
        col(later.assignment_id) == col(Rating.assignment_id),
        col(later.criterion_id) == col(Rating.criterion_id),
        col(later.revision) > col(Rating.revision),
    )
    return col(Rating.value).is_not(None) & ~is_changed


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


def rating_times(session: Session) -> list[tuple[str, float]]:
    """Return (modality, seconds) of every rating whose time is known."""
    query: Any = (
        sa.select(col(Prompt.modality), col(Rating.lead_time_s))
        .select_from(Rating)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(Rating.lead_time_s).is_not(None))
    )
    return [(modality, seconds) for modality, seconds in session.connection().execute(query)]


def latest_verdicts(
    session: Session, campaign: Campaign, assignment_ids: Sequence[UUID]
) -> dict[tuple[UUID, UUID], Verdict]:
    """Return the latest revision by (assignment, criterion), withdrawn ones included."""
    table: Any = Comparison if campaign.kind == "comparison" else Rating
    latest: dict[tuple[UUID, UUID], Verdict] = {}
    for some in in_parts(assignment_ids):
        query = select(table).where(col(table.assignment_id).in_(some))
        for verdict in session.exec(query.order_by(col(table.revision))):
            latest[verdict.assignment_id, verdict.criterion_id] = verdict
    return latest


def add_answers(
    session: Session,
    verdicts: Sequence[Verdict],
    quarantined: Sequence[QuarantinedAnswer] = (),
    mark: SyncMark | None = None,
) -> int:
    """Add verdicts, quarantined answers and a sync mark in one commit.

    A row that is there already stays. Returns how many of the quarantined answers are new.
    """
    for table in (Rating, Comparison):
        rows = [verdict.model_dump() for verdict in verdicts if isinstance(verdict, table)]
        insert_new(session, table, rows)
    before = _num_quarantined(session, quarantined)
    insert_new(session, QuarantinedAnswer, [answer.model_dump() for answer in quarantined])
    num_new = _num_quarantined(session, quarantined) - before
    if mark is not None:
        session.merge(mark)
    session.commit()
    return num_new


def _num_quarantined(session: Session, answers: Sequence[QuarantinedAnswer]) -> int:
    if not answers:
        return 0
    query = select(sa.func.count()).select_from(QuarantinedAnswer)
    return session.exec(query.where(QuarantinedAnswer.campaign_id == answers[0].campaign_id)).one()


def quarantined(session: Session, campaign_id: UUID) -> Sequence[QuarantinedAnswer]:
    """Return a campaign's answers that could not be taken, oldest first."""
    query = select(QuarantinedAnswer).where(QuarantinedAnswer.campaign_id == campaign_id)
    return session.exec(query.order_by(col(QuarantinedAnswer.created_at))).all()


def sync_marks(session: Session, campaign_id: UUID) -> dict[str, dt.datetime]:
    """Return {place: how far a campaign's answers have been pulled from it}."""
    query = select(SyncMark).where(SyncMark.campaign_id == campaign_id)
    return {mark.place: mark.mark for mark in session.exec(query)}
