"""What the choice of images to rate next asks of the database."""

from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from db.models import Assignment, Image, Prompt, Rating


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
