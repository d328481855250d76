"""What RL steps ask of the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.models import (
    Assignment,
    Comparison,
    GeneratorVersion,
    Image,
    Prompt,
    Rating,
    RewardModelRating,
)


def find_rl_version(
    session: Session, *, parent_id: str, reward_model_id: str | None, config: Mapping[str, Any]
) -> GeneratorVersion | None:
    """Return the version that this very RL step made before, if it did."""
    rows = session.exec(
        select(GeneratorVersion).where(
            GeneratorVersion.parent_id == parent_id,
            GeneratorVersion.reward_model_id == reward_model_id,
            GeneratorVersion.how_made == "rl-step",
        )
    )
    return next((row for row in rows if row.config == dict(config)), None)


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


@dataclass(frozen=True)
class Preference:
    """One comparison that counts: both images' files, and the prompt that they show."""

    better_sha256: str
    worse_sha256: str
    prompt_id: str


def preferences(session: Session) -> list[Preference]:
    """Return the pairs of which one image was preferred: each the last revision of its answer.

    Ties, withdrawn answers and pairs with a spoiled image say nothing here.
    """
    left, right = aliased(Image), aliased(Image)
    later = aliased(Comparison)
    superseded = (
        select(later.id)
        .where(
            later.assignment_id == Comparison.assignment_id,
            later.criterion_id == Comparison.criterion_id,
            later.revision > Comparison.revision,
        )
        .exists()
    )
    query = (
        select(Comparison.preferred, left.file_sha256, right.file_sha256, left.prompt_id)
        .join(Assignment, col(Assignment.id) == col(Comparison.assignment_id))
        .join(left, col(left.id) == col(Assignment.image_id))
        .join(right, col(right.id) == col(Assignment.other_image_id))
        .where(
            col(Comparison.preferred).in_(("left", "right")),
            col(Assignment.spoiled).is_(None),
            ~superseded,
        )
        .order_by(col(Assignment.campaign_id), col(Assignment.id), col(Comparison.criterion_id))
    )
    found = []
    for preferred, left_sha256, right_sha256, prompt_id in session.exec(query):
        both = (left_sha256, right_sha256)
        better, worse = both if preferred == "left" else both[::-1]
        found.append(Preference(better, worse, prompt_id))
    return found
