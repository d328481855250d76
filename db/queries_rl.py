"""What RL steps ask of the database."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from db.models import Assignment, GeneratorVersion, Image, Prompt, Rating, RewardModelRating


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
