"""Draws for calibration: which images were drawn, and what they were drawn from."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import Assignment, Campaign, Image, Prompt
from db.queries.campaigns import PURPOSE


@dataclass(frozen=True)
class DrawnImage:
    """One image of a calibration campaign."""

    image_id: UUID
    version_id: str | None
    modality: str
    origin: str
    selection_method: str
    inclusion_probability: float


@dataclass(frozen=True)
class PoolImage:
    """A synthetic image that a draw may have been from."""

    image_id: UUID
    item_key: str
    version_id: str
    modality: str


def calibration_campaigns(session: Session) -> list[Campaign]:
    """Return the campaigns that drew images for calibration, oldest first."""
    drew = select(Assignment.campaign_id).where(Assignment.purpose == PURPOSE)
    query = select(Campaign).where(col(Campaign.id).in_(drew))
    return list(session.exec(query.order_by(col(Campaign.sequence), Campaign.name)))


def drawn_images(session: Session, campaign_id: UUID) -> list[DrawnImage]:
    """Return the images that a campaign drew, each once; its controls and repeats are none."""
    query: Any = (
        sa.select(
            col(Image.id).label("image_id"),
            col(Image.version_id),
            col(Prompt.modality),
            col(Image.origin),
            col(Assignment.selection_method),
            col(Assignment.inclusion_probability),
        )
        .select_from(Assignment)
        .join(Image, col(Image.id) == col(Assignment.image_id))
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(Assignment.campaign_id) == campaign_id, col(Assignment.purpose) == PURPOSE)
        .distinct()
        .order_by(col(Image.id))
    )
    return [DrawnImage(**row._mapping) for row in session.connection().execute(query)]


def unrated_before(session: Session, moment: dt.datetime) -> list[PoolImage]:
    """Return the synthetic images that were there then and that no campaign had yet taken."""
    taken = (
        sa.exists()
        .where(col(Assignment.image_id) == col(Image.id))
        .where(col(Assignment.campaign_id) == col(Campaign.id))
        .where(col(Campaign.created_at) < moment)
    )
    query: Any = (
        sa.select(
            col(Image.id).label("image_id"),
            col(Image.item_key),
            col(Image.version_id),
            col(Prompt.modality),
        )
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .where(col(Image.origin) == "synthetic", col(Image.created_at) <= moment, ~taken)
        .order_by(col(Image.id))
    )
    return [PoolImage(**row._mapping) for row in session.connection().execute(query)]
