"""Images as people look through them: filtered, ordered, a page at a time.

A page begins after the last image of the one before (keyset pages): images that are added
meanwhile neither repeat one nor leave one out, and the last page costs what the first does.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import (
    Assignment,
    Campaign,
    Criterion,
    Image,
    Prompt,
    PromptCondition,
    Rater,
    Rating,
    ReleaseDecision,
    Score,
    Standing,
)
from db.queries.ratings import counts_now

# {name: (column, whether the largest comes first)}
ORDERS: dict[str, tuple[Any, bool]] = {
    "newest": (Image.created_at, True),
    "best": (Score.mean, True),
    "worst": (Score.mean, False),
    "least-sure": (Score.spread, True),
    "most-disagreement": (Standing.disagreement, True),
    "nearest-training": (Standing.train_distance, False),
}
MANY_PROMPTS = 2_000  # past that, the condition is asked of each image's prompt
FEW = 2_000  # images that are put in order one by one; of more, the order's index is walked


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which images; None asks for any."""

    modality: str | None = None
    label: str | None = None
    words: str | None = None  # somewhere in the prompt's text
    origin: str | None = None
    version_id: str | None = None
    run_id: str | None = None
    seed: int | None = None
    is_rated: bool | None = None
    least_score: float | None = None
    most_score: float | None = None
    release_id: str | None = None
    decision: str | None = None  # the release's: "kept" or "rejected"
    reason: str | None = None


@dataclass(frozen=True)
class Card:
    """One image in the gallery; score and spread are the chosen reward model's."""

    image_id: UUID
    file_sha256: str
    origin: str
    version_id: str | None
    seed: int | None
    created_at: dt.datetime
    modality: str
    text: str
    label: str | None
    score: float | None
    spread: float | None
    train_distance: float | None = None  # to the nearest training image, as an export found it
    disagreement: float | None = None  # of raters, 0 .. 1


@dataclass(frozen=True)
class ImageRating:
    """What one rater said of one image."""

    rater: str
    simulated: bool
    campaign: str
    criterion: str
    value: int
    max_value: int
    purpose: str
    reasons: list[str]
    comment: str
    rated_at: dt.datetime


_FACTS: tuple[Any, ...] = (
    col(Image.id).label("image_id"),
    col(Image.file_sha256),
    col(Image.origin),
    col(Image.version_id),
    col(Image.seed),
    col(Image.created_at),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Score.mean).label("score"),
    col(Score.spread),
    col(Standing.train_distance),
    col(Standing.disagreement),
)


def cards(
    session: Session,
    wanted: Filter,
    *,
    order: str = "newest",
    reward_model_id: str | None = None,
    after: UUID | None = None,
    limit: int = 60,
) -> list[Card]:
    """Return the next images after one, or the first; an order leaves out what it has no value of.

    Raises ValueError for an unknown order, and for one by score without a reward model.
    """
    key, by_id, is_falling = _order(order, reward_model_id)
    prompts = _prompts(session, wanted)
    if prompts is not None and not prompts:
        return []
    few = _few(session, wanted, prompts, reward_model_id)
    model, place, by = col(Score.reward_model_id), by_id, key
    conditions = _conditions(wanted, prompts, order)
    if few is not None:  # no index leads to the order then: the images are found, and sorted
        model, place, by = _unindexed(model), _unindexed(by_id), _unindexed(key)
        conditions.append(col(Image.id).in_(few))
    is_scored = sa.and_(col(Score.image_id) == col(Image.id), model == reward_model_id)
    is_placed = col(Standing.image_id) == col(Image.id)
    statement: Any = (
        sa.select(*_FACTS)
        .select_from(Image)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .join(Score, is_scored, isouter=key.class_ is not Score)
        .join(Standing, is_placed, isouter=key.class_ is not Standing)
        .where(key.is_not(None), *conditions)
    )
    last = _place_of(session, key, by_id, after, reward_model_id) if after else None
    if last is not None:
        here, there = (
            sa.tuple_(by, place),
            sa.tuple_(sa.literal(last, key.type), sa.literal(after, by_id.type)),
        )
        statement = statement.where(here < there if is_falling else here > there)
    turned = (by.desc(), place.desc()) if is_falling else (by, place)
    rows = session.connection().execute(statement.order_by(*turned).limit(limit))
    return [Card(**row._mapping) for row in rows]


def _order(order: str, reward_model_id: str | None) -> tuple[Any, Any, bool]:
    """Return the column, its table's column of images, and whether the largest comes first."""
    if order not in ORDERS:
        raise ValueError(f"no order {order!r}; known: {', '.join(ORDERS)}")
    key, is_falling = ORDERS[order]
    if key.class_ is Score and reward_model_id is None:
        raise ValueError(f"the order {order!r} needs a reward model")
    return key, (Image.id if key.class_ is Image else key.class_.image_id), is_falling


def _place_of(
    session: Session, key: Any, by_id: Any, image_id: UUID, reward_model_id: str | None
) -> Any:
    """Return the value by which an image stands where it does; None for one that is gone."""
    chosen = sa.select(key).where(by_id == image_id)
    if key.class_ is Score:
        chosen = chosen.where(col(Score.reward_model_id) == reward_model_id)
    return session.connection().execute(chosen).scalar()


def _unindexed(column: Any) -> Any:
    """Return a column's value as something that no index is of."""
    return sa.func.coalesce(column, column)


def _prompts(session: Session, wanted: Filter) -> Sequence[str] | None:
    """Return the prompts that are asked for, at most one more than `MANY_PROMPTS`; None: any."""
    said = _said_of_prompts(wanted)
    if not said:
        return None
    return session.exec(select(Prompt.id).where(*said).limit(MANY_PROMPTS + 1)).all()


def _said_of_prompts(wanted: Filter, of: Callable[[Any], Any] = col) -> list[Any]:
    named = (Prompt.modality, wanted.modality), (Prompt.label, wanted.label)
    said = [of(column) == value for column, value in named if value is not None]
    if wanted.words:
        said.append(col(Prompt.text).icontains(wanted.words, autoescape=True))
    return said


def _few(
    session: Session, wanted: Filter, prompts: Sequence[str] | None, reward_model_id: str | None
) -> Any:
    """Choose the ids of the images that fulfil one condition, if at most `FEW` do; None if not.

    Each condition is counted by its own index, no further than that.
    """
    ways: list[Any] = [
        sa.select(col(Image.id)).where(col(column) == value)
        for column, value in _said_of_image(wanted)
    ]
    if prompts is not None and len(prompts) <= MANY_PROMPTS:
        ways.append(sa.select(col(Image.id)).where(col(Image.prompt_id).in_(prompts)))
    if wanted.is_rated:
        ways.append(
            sa.select(col(Assignment.image_id))
            .join(Rating, col(Rating.assignment_id) == col(Assignment.id))
            .where(col(Rating.value).is_not(None))
        )
    if range_ := _range_of_scores(wanted, col(Score.mean)):
        of_model = col(Score.reward_model_id) == reward_model_id
        ways.append(sa.select(col(Score.image_id)).where(of_model, *range_))
    if decided := _said_of_decision(wanted):
        ways.append(sa.select(col(ReleaseDecision.image_id)).where(*decided))
    for way in ways:
        some = way.limit(FEW + 1).subquery()
        count = session.connection().execute(sa.select(sa.func.count()).select_from(some))
        if count.scalar_one() <= FEW:
            return way
    return None


def _conditions(wanted: Filter, prompts: Sequence[str] | None, order: str) -> list[Any]:
    """Return what images must fulfil, so that the planner walks the order's index.

    Of a column with an index that has another order it would sort all that fits.
    """
    in_order = [Image.origin, Image.version_id] if order == "newest" else []
    found = [
        (col(column) if column in in_order else _unindexed(column)) == value
        for column, value in _said_of_image(wanted)
    ]
    mean = col(Score.mean) if order in ("best", "worst") else _unindexed(Score.mean)
    found += _range_of_scores(wanted, mean)
    if wanted.is_rated is not None:
        rated = sa.exists().where(
            col(Assignment.image_id) == col(Image.id),
            col(Rating.assignment_id) == col(Assignment.id),
            col(Rating.value).is_not(None),
        )
        found.append(rated if wanted.is_rated else ~rated)
    if decided := _said_of_decision(wanted):
        found.append(sa.exists().where(col(ReleaseDecision.image_id) == col(Image.id), *decided))
    if prompts is not None and len(prompts) <= MANY_PROMPTS:
        found.append(_unindexed(Image.prompt_id).in_(prompts))
    elif prompts is not None:
        found += _said_of_prompts(wanted, _unindexed)
    return found


def _said_of_image(wanted: Filter) -> list[tuple[Any, Any]]:
    asked = (
        (Image.version_id, wanted.version_id),
        (Image.run_id, wanted.run_id),
        (Image.seed, wanted.seed),
        (Image.origin, wanted.origin),
    )
    return [(column, value) for column, value in asked if value is not None]


def _range_of_scores(wanted: Filter, mean: Any) -> list[Any]:
    least = [] if wanted.least_score is None else [mean >= wanted.least_score]
    return least if wanted.most_score is None else [*least, mean <= wanted.most_score]


def _said_of_decision(wanted: Filter) -> list[Any]:
    if wanted.release_id is None:
        return []
    asked = (
        (ReleaseDecision.release_id, wanted.release_id),
        (ReleaseDecision.decision, wanted.decision or None),
        (ReleaseDecision.reason, wanted.reason or None),
    )
    return [col(column) == value for column, value in asked if value is not None]


def named_prompts(session: Session) -> list[tuple[str, str | None]]:
    """Return (modality, label) of the prompts that have an image, for the filters' choices."""
    has_image = sa.exists().where(col(Image.prompt_id) == col(Prompt.id))
    names = (col(Prompt.modality), col(Prompt.label))
    query: Any = sa.select(*names).where(has_image).distinct().order_by(*names)
    return [tuple(row) for row in session.connection().execute(query)]


def modalities(session: Session) -> list[str]:
    """Return the modalities that have an image."""
    return sorted({modality for modality, _ in named_prompts(session)})


def num_images(session: Session) -> int:
    """Return how many images there are."""
    return session.exec(select(sa.func.count()).select_from(Image)).one()


def twins(session: Session, image: Image) -> list[Card]:
    """Return the images of the same prompt, seed and settings, by other versions: equal noise."""
    found = session.exec(
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == Image.prompt_id)
        .where(
            Image.prompt_id == image.prompt_id,
            Image.seed == image.seed,
            Image.settings_hash == image.settings_hash,
            col(Image.seed).is_not(None),
            Image.id != image.id,
        )
        .order_by(col(Image.created_at))
    )
    return [
        Card(
            twin.id, twin.file_sha256, twin.origin, twin.version_id, twin.seed, twin.created_at,
            prompt.modality, prompt.text, prompt.label, None, None,
        )
        for twin, prompt in found
    ]  # fmt: skip


def scores_of(session: Session, image_id: UUID) -> Sequence[Score]:
    """Return what reward models say of an image, the newest score first."""
    query = select(Score).where(Score.image_id == image_id).order_by(col(Score.created_at).desc())
    return session.exec(query).all()


def decisions_about(session: Session, image_id: UUID) -> Sequence[ReleaseDecision]:
    """Return what releases decided of an image."""
    return session.exec(select(ReleaseDecision).where(ReleaseDecision.image_id == image_id)).all()


def campaigns_with(session: Session, image_id: UUID) -> Sequence[Campaign]:
    """Return the campaigns that show an image, alone or in a pair."""
    shown = select(Assignment.campaign_id).where(
        sa.or_(col(Assignment.image_id) == image_id, col(Assignment.other_image_id) == image_id)
    )
    return session.exec(select(Campaign).where(col(Campaign.id).in_(shown))).all()


def ratings_of(session: Session, image_id: UUID) -> list[ImageRating]:
    """Return the ratings of an image that count, oldest first: last revisions, not withdrawn."""
    query: Any = (
        sa.select(
            col(Rater.name).label("rater"),
            col(Rater.simulated),
            col(Campaign.name).label("campaign"),
            col(Criterion.name).label("criterion"),
            col(Rating.value),
            col(Criterion.max_value),
            col(Assignment.purpose),
            col(Rating.reasons),
            col(Rating.comment),
            col(Rating.rated_at),
        )
        .select_from(Rating)
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Campaign, col(Campaign.id) == col(Assignment.campaign_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .where(col(Assignment.image_id) == image_id, counts_now(Rating, col(Rating.value)))
        .order_by(col(Rating.rated_at), col(Rating.id))
    )
    return [ImageRating(**row._mapping) for row in session.connection().execute(query)]


def kept_of_offered(session: Session, release_id: str) -> list[tuple[str, str | None, int, int]]:
    """Return (modality, label, kept, offered) of a release's decisions."""
    kept = sa.func.sum(sa.case((col(ReleaseDecision.decision) == "kept", 1), else_=0))
    query: Any = (
        sa.select(col(Prompt.modality), col(Prompt.label), kept, sa.func.count())
        .select_from(ReleaseDecision)
        .join(Image, col(Image.id) == col(ReleaseDecision.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(ReleaseDecision.release_id) == release_id)
        .group_by(col(Prompt.modality), col(Prompt.label))
        .order_by(col(Prompt.modality), col(Prompt.label))
    )
    return [tuple(row) for row in session.connection().execute(query)]


def is_picture(session: Session, sha256: str) -> bool:
    """Say whether a file is an image's or a condition image's: weights are no picture."""
    image = select(Image.id).where(Image.file_sha256 == sha256).limit(1)
    condition = select(PromptCondition.prompt_id).where(PromptCondition.file_sha256 == sha256)
    return any(session.exec(query).first() is not None for query in (image, condition.limit(1)))
