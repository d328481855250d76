"""What RL steps ask of the database."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, select

from db.models import GeneratorVersion


def find_rl_version(
    session: Session, *, parent_id: str, reward_model_id: str, config: Mapping[str, Any]
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
