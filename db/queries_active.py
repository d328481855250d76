"""What the choice of images to rate next asks of the database."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import Assignment, Image, Prompt, Rating, Score
from db.queries_rating import VARIABLES


def scores_of(
    session: Session, image_ids: Sequence[UUID], reward_model_id: str
) -> dict[UUID, tuple[float, float]]:
    """Return {image: (mean, spread)} of those that the reward model has scored."""
    found: dict[UUID, tuple[float, float]] = {}
    for start in range(0, len(image_ids), VARIABLES):
        query = select(Score.image_id, Score.mean, Score.spread).where(
            Score.reward_model_id == reward_model_id,
            col(Score.image_id).in_(image_ids[start : start + VARIABLES]),
        )
        found.update({image_id: (mean, spread) for image_id, mean, spread in session.exec(query)})
    return found


def modalities_of(session: Session, prompt_ids: Sequence[str]) -> dict[str, str]:
    """Return {prompt: modality}."""
    found: dict[str, str] = {}
    for start in range(0, len(prompt_ids), VARIABLES):
        part = prompt_ids[start : start + VARIABLES]
        query = select(Prompt.id, Prompt.modality).where(col(Prompt.id).in_(part))
        found.update({prompt_id: modality for prompt_id, modality in session.exec(query)})
    return found


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
