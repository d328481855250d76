"""Reward models: the ratings behind them and the scores they gave."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.bulk import insert_new
from db.errors import StoreError
from db.models import (
    Assignment,
    Criterion,
    Image,
    Prompt,
    Rater,
    Rating,
    RewardModel,
    RewardModelRating,
    Score,
    utc_now,
)

LATEST = "latest"


@dataclass(frozen=True)
class RatingOfRewardModel:
    """A rating as a reward model met it, without the rater's name."""

    rating_id: UUID
    reward_model_id: str
    use: str  # "fitted" or "held-out"
    campaign_id: UUID
    rater_id: UUID
    expert_level: int
    simulated: bool
    criterion: str
    value: int | None
    min_value: int
    max_value: int
    purpose: str
    rated_at: dt.datetime
    item_key: str | None  # None: a real image
    file_sha256: str
    origin: str
    version_id: str | None


def reward_models(session: Session, role: str | None = None) -> Sequence[RewardModel]:
    """Return reward models, of one role or all, oldest first."""
    query = select(RewardModel).order_by(col(RewardModel.sequence), col(RewardModel.id))
    if role is not None:
        query = query.where(RewardModel.role == role)
    return session.exec(query).all()


def find_reward_model(session: Session, name: str = LATEST) -> RewardModel:
    """Return the reward model whose id begins so, or the latest one that is no judge.

    Raises StoreError listing what is known.
    """
    known = reward_models(session)
    if name == LATEST:
        found = [model for model in known if model.role == "reward"][-1:]
    else:
        found = [model for model in known if name and model.id.startswith(name)]
    if len(found) != 1:
        shown = ", ".join(f"{model.id[:12]} ({model.role})" for model in known) or "none"
        what = "Several reward models begin with" if len(found) > 1 else "No reward model"
        raise StoreError(f"{what} {name!r}. Known: {shown}. Fit one with `curate train-reward`.")
    return found[0]


def add_reward_model(session: Session, model: RewardModel, uses: Mapping[UUID, str]) -> RewardModel:
    """Add a reward model and {rating id: "fitted" or "held-out"} in one commit."""
    insert_new(session, RewardModel, [model.model_dump(exclude={"sequence"})])
    rows = [
        {"reward_model_id": model.id, "rating_id": rating_id, "use": use}
        for rating_id, use in uses.items()
    ]
    insert_new(session, RewardModelRating, rows)
    session.commit()
    return session.get_one(RewardModel, model.id)


def raters_behind(session: Session, role: str) -> set[str]:
    """Return the raters whose ratings any model of this role was fitted to."""
    query = (
        sa.select(col(Rater.name))
        .join(Assignment, col(Assignment.rater_id) == col(Rater.id))
        .join(Rating, col(Rating.assignment_id) == col(Assignment.id))
        .join(RewardModelRating, col(RewardModelRating.rating_id) == col(Rating.id))
        .join(RewardModel, col(RewardModel.id) == col(RewardModelRating.reward_model_id))
        .where(col(RewardModel.role) == role)
        .distinct()
    )
    return set(session.connection().execute(query).scalars())


def images_behind(session: Session, reward_model_id: str) -> set[UUID]:
    """Return the images whose ratings a reward model was fitted to or measured on."""
    query = (
        select(Assignment.image_id)
        .join(Rating, col(Rating.assignment_id) == col(Assignment.id))
        .join(RewardModelRating, col(RewardModelRating.rating_id) == col(Rating.id))
        .where(col(RewardModelRating.reward_model_id) == reward_model_id)
    )
    return set(session.exec(query))


def criteria_behind(session: Session, reward_model_id: str) -> set[str]:
    """Return the names of the criteria whose ratings a reward model was fitted to."""
    query = (
        select(Criterion.name)
        .join(Rating, col(Rating.criterion_id) == col(Criterion.id))
        .join(RewardModelRating, col(RewardModelRating.rating_id) == col(Rating.id))
        .where(col(RewardModelRating.reward_model_id) == reward_model_id)
    )
    return set(session.exec(query))


def prompts_of_reward_model(session: Session, reward_model_id: str) -> list[Prompt]:
    """Return the prompts of the synthetic images that it was fitted to, ordered by id."""
    prompt_ids = (
        select(Image.prompt_id)
        .join(Assignment, col(Assignment.image_id) == Image.id)
        .join(Rating, col(Rating.assignment_id) == Assignment.id)
        .join(RewardModelRating, col(RewardModelRating.rating_id) == Rating.id)
        .where(RewardModelRating.reward_model_id == reward_model_id, Image.origin == "synthetic")
    )
    query = select(Prompt).where(col(Prompt.id).in_(prompt_ids)).order_by(col(Prompt.id))
    return list(session.exec(query))


def ratings_of_reward_models(
    session: Session, reward_model_ids: Collection[str]
) -> list[RatingOfRewardModel]:
    """Return the ratings that reward models were fitted to or tested on, oldest first."""
    query = (
        sa.select(*_RATING_OF_REWARD_MODEL)
        .select_from(RewardModelRating)
        .join(Rating, col(Rating.id) == col(RewardModelRating.rating_id))
        .join(Assignment, col(Assignment.id) == col(Rating.assignment_id))
        .join(Rater, col(Rater.id) == col(Assignment.rater_id))
        .join(Criterion, col(Criterion.id) == col(Rating.criterion_id))
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .where(col(RewardModelRating.reward_model_id).in_(sorted(reward_model_ids)))
        .order_by(col(RewardModelRating.reward_model_id), col(Rating.rated_at), col(Rating.id))
    )
    return [RatingOfRewardModel(**row._mapping) for row in session.connection().execute(query)]


_RATING_OF_REWARD_MODEL: tuple[Any, ...] = (
    col(Rating.id).label("rating_id"),
    col(RewardModelRating.reward_model_id),
    col(RewardModelRating.use),
    col(Assignment.campaign_id),
    col(Assignment.rater_id),
    col(Rater.expert_level),
    col(Rater.simulated),
    col(Criterion.name).label("criterion"),
    col(Rating.value),
    col(Criterion.min_value),
    col(Criterion.max_value),
    col(Assignment.purpose),
    col(Rating.rated_at),
    col(Image.item_key),
    col(Image.file_sha256),
    col(Image.origin),
    col(Image.version_id),
)


def unscored_images(
    session: Session,
    reward_model_id: str,
    *,
    after: UUID | None,
    limit: int,
    version_id: str | None = None,
    run_id: str | None = None,
    origin: str | None = None,
) -> list[tuple[Image, Prompt]]:
    """Return the next images, by id after `after`, that this model has not scored."""
    query = (
        select(Image, Prompt)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(~_is_scored(reward_model_id))
        .order_by(col(Image.id))
        .limit(limit)
    )
    if after is not None:
        query = query.where(col(Image.id) > after)
    for column, wanted in _filters(version_id, run_id, origin):
        query = query.where(column == wanted)
    return list(session.exec(query))


def scores(session: Session, reward_model_id: str | None = None) -> Sequence[Score]:
    """Return the scores of all reward models, or of one, by image."""
    query = select(Score).order_by(col(Score.reward_model_id), col(Score.image_id))
    if reward_model_id is not None:
        query = query.where(Score.reward_model_id == reward_model_id)
    return session.exec(query).all()


def has_scores(session: Session, reward_model_id: str) -> bool:
    """Tell whether this reward model has scored any image."""
    any_score = select(Score.image_id).where(Score.reward_model_id == reward_model_id).limit(1)
    return session.exec(any_score).first() is not None


def num_images_and_scores(
    session: Session,
    reward_model_id: str,
    *,
    version_id: str | None = None,
    run_id: str | None = None,
    origin: str | None = None,
) -> tuple[int, int]:
    """Return how many images there are, and how many of them this model has scored."""
    scored = sa.case((_is_scored(reward_model_id), 1), else_=0)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(scored), 0)).select_from(Image)
    for column, wanted in _filters(version_id, run_id, origin):
        query = query.where(column == wanted)
    num_images, num_scored = session.connection().execute(query).one()
    return int(num_images), int(num_scored)


def add_scores(
    session: Session, reward_model_id: str, scores: Sequence[tuple[UUID, float, float]]
) -> None:
    """Add (image id, mean, spread) in one commit; a score that is there already stays."""
    rows = [
        {
            "reward_model_id": reward_model_id,
            "image_id": image_id,
            "mean": mean,
            "spread": spread,
            "created_at": utc_now(),
        }
        for image_id, mean, spread in scores
    ]
    insert_new(session, Score, rows)
    session.commit()


def _is_scored(reward_model_id: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        col(Score.image_id) == col(Image.id), col(Score.reward_model_id) == reward_model_id
    )


def _filters(
    version_id: str | None, run_id: str | None, origin: str | None
) -> list[tuple[sa.ColumnElement[Any], str]]:
    asked: tuple[tuple[Any, str | None], ...] = (
        (col(Image.version_id), version_id),
        (col(Image.run_id), run_id),
        (col(Image.origin), origin),
    )
    return [(column, wanted) for column, wanted in asked if wanted is not None]
