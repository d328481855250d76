"""What raters answered: ratings and comparisons that count, and answers as they come in."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.bulk import in_parts, insert_new
from db.errors import StoreError
from db.models import (
    BY_MACHINE,
    MACHINE,
    Archived,
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


def content_of(view: RatingView) -> list[Any]:
    """Return who said what of which image: equal for equal ratings, whatever their rows' ids."""
    image = [view.file_sha256, view.prompt_id, view.spoiled]
    return [*image, view.rater, view.expert_level, view.criterion, goodness(view)]


def looks_good(
    ratings: Iterable[RatingView], good_from: Mapping[str, int] | None = None
) -> list[tuple[RatingView, bool]]:
    """Return each look of a rater at an image, by one of its ratings, and whether it was good.

    An image is good for a rater when every criterion has its top grade (or the least that
    `good_from` names). A criterion that was not answered is missing, not low.
    """
    looks: dict[tuple[UUID, str, UUID, str], list[RatingView]] = {}
    for view in ratings:
        key = view.campaign_id, view.rater, view.image_id, view.purpose
        looks.setdefault(key, []).append(view)
    least = good_from or {}
    return [
        (own[0], all(goodness(view) >= least.get(view.criterion, view.max_value) for view in own))
        for own in looks.values()
    ]


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
    image_ids: Sequence[UUID] | None = None,
    machines: bool = False,
) -> list[RatingView]:
    """Return the ratings that count: each the last revision of its answer, and not withdrawn.

    Left out unless asked for: other kinds of question than how good an image is, verdicts on
    images that were `spoiled` before they were shown, which say nothing of the images, and those of
    `machines` outside the campaign that is named.
    """
    statement = (
        sa.select(*_RATING_VIEW)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(counts_now(Rating, col(Rating.value)), col(Criterion.kind).in_(kinds))
        .order_by(col(Rating.rated_at), col(Rating.id))
    )
    if not spoiled:
        statement = statement.where(col(Assignment.spoiled).is_(None))
    if campaign_id is not None:
        statement = statement.where(col(Assignment.campaign_id) == campaign_id)
    elif not machines:
        statement = statement.where(~col(Rater.name).startswith(MACHINE))
    if purposes is not None:
        statement = statement.where(col(Assignment.purpose).in_(purposes))
    if image_ids is not None:
        statement = statement.where(col(Assignment.image_id).in_(image_ids))
    rows = session.connection().execute(statement)
    return [RatingView(**row._mapping) for row in rows]


def ratings_of_machines(
    session: Session, campaign_id: UUID, machines: Sequence[str] | None = None
) -> list[RatingView]:
    """Return what machines say now of a campaign's images, in their own campaigns beside it.

    Those that are named, or all; their controls are left out.
    """
    beside = session.exec(select(Campaign).where(Campaign.backend == BY_MACHINE)).all()
    return [
        view
        for row in beside
        if row.config.get("of") == str(campaign_id)
        for view in current_ratings(session, campaign_id=row.id, purposes=("train",))
        if machines is None or view.rater in machines
    ]


def require_rated(session: Session, campaign_id: UUID, machines: Sequence[str]) -> None:
    """Raise StoreError for a machine that has rated none of a campaign's images."""
    if not machines:
        return
    known = sorted({view.rater for view in ratings_of_machines(session, campaign_id)})
    for name in machines:
        if name not in known:
            of = session.get_one(Campaign, campaign_id).name
            raise StoreError(
                f"No machine {name!r} has rated the images of campaign {of!r} (have: "
                f"{', '.join(known) or 'none'}). Ask it with `curate rate machine {of}`."
            )


def num_current_ratings(session: Session) -> dict[bool, int]:
    """Return how many ratings count, machines' left out, by whether they are simulated."""
    query: Any = (
        sa.select(col(Rater.simulated), sa.func.count())
        .select_from(Rating)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .where(
            counts_now(Rating, col(Rating.value)),
            col(Criterion.kind) == "scale",
            col(Assignment.spoiled).is_(None),
            ~col(Rater.name).startswith(MACHINE),
        )
        .group_by(col(Rater.simulated))
    )
    return {row[0]: row[1] for row in session.connection().execute(query)}


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


def counts_now(table: Any, verdict: Any) -> Any:
    """Return the condition that a row counts: its answer's last revision, and not withdrawn.

    `verdict` is the column that a withdrawn answer leaves empty.
    """
    later = aliased(table)
    is_changed = sa.exists().where(
        later.assignment_id == table.assignment_id,
        later.criterion_id == table.criterion_id,
        later.revision > table.revision,
    )
    return verdict.is_not(None) & ~is_changed


def current_comparisons(
    session: Session, purposes: Sequence[str], *, machines: bool = False
) -> list[ComparisonView]:
    """Return the comparisons that count, of assignments of these purposes, in order of time.

    Those of machines are left out unless asked for.
    """
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
        .where(counts_now(Comparison, col(Comparison.preferred)))
        .where(col(Assignment.purpose).in_(purposes))
        .order_by(col(Comparison.rated_at), col(Comparison.id))
    )
    if not machines:
        statement = statement.where(~col(Rater.name).startswith(MACHINE))
    return [ComparisonView(**row._mapping) for row in session.connection().execute(statement)]


def looks(session: Session, campaign_id: UUID | None = None) -> list[Look]:
    """Return the verdicts that count, oldest first: last revisions, those withdrawn left out."""
    return [
        *_looks(session, Rating, col(Rating.value), campaign_id),
        *_looks(session, Comparison, col(Comparison.preferred), campaign_id),
    ]


def _looks(session: Session, table: Any, verdict: Any, campaign_id: UUID | None) -> list[Look]:
    statement = (
        sa.select(*_LOOK, verdict.label("verdict"), table.lead_time_s, table.rated_at)
        .join(Assignment, col(Assignment.id) == table.assignment_id)
        .join(Criterion, col(Criterion.id) == table.criterion_id)
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .where(counts_now(table, verdict))
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
    """Add verdicts, quarantined answers and a sync mark; whoever goes on writing commits.

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
    return num_new


def num_answers(session: Session, campaign_id: UUID) -> int:
    """Count the verdicts of a campaign, changed ones and their changes alike."""
    return sum(
        session.exec(
            select(sa.func.count())
            .join_from(table, Assignment, col(table.assignment_id) == col(Assignment.id))
            .where(Assignment.campaign_id == campaign_id)
        ).one()
        for table in (Rating, Comparison)
    )


def open_campaigns_of(session: Session, rater_ids: Sequence[UUID]) -> list[str]:
    """Return the names of the campaigns that ask one of these raters and wait for an answer.

    Whose answer, does not matter; a campaign that was put aside waits for none.
    """
    theirs = select(Assignment.campaign_id).where(col(Assignment.rater_id).in_(rater_ids))
    query = select(Campaign).where(col(Campaign.id).in_(theirs))
    aside = session.exec(select(Archived.id).where(Archived.kind == "campaign")).all()
    known = [row for row in session.exec(query) if str(row.id) not in aside]
    return sorted(row.name for row in known if is_open(session, row.id))


def is_open(session: Session, campaign_id: UUID) -> bool:
    """Say whether a campaign still waits for an answer."""
    waiting = select(Assignment.id).where(Assignment.campaign_id == campaign_id, is_waited_for())
    return session.exec(waiting.limit(1)).first() is not None


def is_waited_for() -> Any:
    """Ask of an assignment whether an answer is waited for: of a machine none is."""
    machines = select(Rater.id).where(col(Rater.name).startswith(MACHINE))
    return ~is_answered() & col(Assignment.rater_id).not_in(machines)


def is_answered() -> Any:
    """Ask of an assignment whether it has a rating or a preference that was not withdrawn."""
    tables = ((Rating, Rating.value), (Comparison, Comparison.preferred))
    return sa.or_(
        *(
            sa.exists().where(
                col(table.assignment_id) == col(Assignment.id), col(said).is_not(None)
            )
            for table, said in tables
        )
    )


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
