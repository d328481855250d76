"""Images that an atlas may show: vetted, of no test patient, and in no campaign that is open."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from db.bulk import MAX_IN
from db.models import (
    Archived,
    Assignment,
    Image,
    Prompt,
    PromptCondition,
    Release,
    ReleaseDecision,
    Score,
)
from db.queries.ratings import is_waited_for


@dataclass(frozen=True)
class VettedImage:
    """A real image, or a synthetic one that a release kept."""

    image_id: UUID
    file_sha256: str
    pixels_sha256: str
    origin: str
    modality: str
    text: str
    label: str | None
    version_id: str | None
    seed: int | None
    source: str | None
    licence: str | None
    score: float | None
    spread: float | None


_FACTS: tuple[Any, ...] = (
    col(Image.id).label("image_id"),
    col(Image.file_sha256),
    col(Image.pixels_sha256),
    col(Image.origin),
    col(Prompt.modality),
    col(Prompt.text),
    col(Prompt.label),
    col(Image.version_id),
    col(Image.seed),
    col(Image.source),
    col(Image.licence),
    col(Score.mean).label("score"),
    col(Score.spread),
)


def vetted(
    session: Session,
    *,
    image_ids: Sequence[UUID] | None = None,
    prompt_ids: Sequence[str] | None = None,
    origin: str | None = None,
    reward_model_id: str | None = None,
    limit: int | None = None,
    waiting: Sequence[UUID] | None = None,
) -> list[VettedImage]:
    """Return the images that may be shown, of some or of all, the best score first.

    Real ones, and synthetic ones that a release kept which is not archived. Left out, with all of
    equal pixels and all made from them (as a condition image): images of patients with an image
    set aside as test, and images of a campaign with an open question: those of `waiting`, where
    `campaigns_that_wait` was asked before.
    """
    open_ids = campaigns_that_wait(session) if waiting is None else waiting
    ranked = _ranked(image_ids, prompt_ids, origin, reward_model_id)
    may_be_shown = _may_be_shown(open_ids)
    if limit is None:
        shown = ranked.with_only_columns(*_FACTS).where(*may_be_shown)
        return [VettedImage(**row._mapping) for row in session.connection().execute(shown)]
    found: list[VettedImage] = []
    num = 4 * limit
    with session.connection().execute(ranked) as ids:
        rest = ids.scalars()  # whether an image may be shown costs most: it is asked of few
        while len(found) < limit and (block := list(islice(rest, num))):
            few = ranked.with_only_columns(*_FACTS).where(col(Image.id).in_(block))
            rows = session.connection().execute(few.where(*may_be_shown))
            found += [VettedImage(**row._mapping) for row in rows]
            num = min(4 * num, MAX_IN)
    return found[:limit]


def campaigns_that_wait(session: Session) -> Sequence[UUID]:
    """Return the campaigns with an open question."""
    return session.exec(select(Assignment.campaign_id).where(is_waited_for()).distinct()).all()


def _ranked(
    image_ids: Sequence[UUID] | None,
    prompt_ids: Sequence[str] | None,
    origin: str | None,
    reward_model_id: str | None,
) -> Any:
    """Choose the ids of real images and of those that a release kept, the best score first."""
    archived = select(Archived.id).where(Archived.kind == "release")
    is_kept = sa.exists().where(
        col(ReleaseDecision.image_id) == col(Image.id),
        col(ReleaseDecision.decision) == "kept",
        col(ReleaseDecision.release_id).not_in(archived),
    )
    is_scored = sa.and_(
        col(Score.image_id) == col(Image.id), col(Score.reward_model_id) == reward_model_id
    )
    query: Any = (
        sa.select(col(Image.id))
        .select_from(Image)
        .join(Prompt, col(Prompt.id) == col(Image.prompt_id))
        .join(Score, is_scored, isouter=True)
        .where(sa.or_(col(Image.origin) == "real", is_kept))
        .order_by(col(Score.mean).desc().nulls_last(), col(Image.id))
    )
    for column, values in ((Image.id, image_ids), (Image.prompt_id, prompt_ids)):
        query = query if values is None else query.where(col(column).in_(values))
    return query if origin is None else query.where(col(Image.origin) == origin)


def _may_be_shown(open_ids: Sequence[UUID]) -> tuple[Any, Any]:
    """Say that nothing is held back of an image's pixels, and of what it was made from."""
    same_pixels: Any = aliased(Image)
    made_from: Any = aliased(Image)
    is_held = sa.exists().where(
        same_pixels.pixels_sha256 == col(Image.pixels_sha256),
        _is_held_back(same_pixels, open_ids),
    )
    is_made_from_held = sa.exists().where(
        col(PromptCondition.prompt_id) == col(Image.prompt_id),
        made_from.file_sha256 == col(PromptCondition.file_sha256),
        _is_held_back(made_from, open_ids),
    )
    return ~is_held, ~is_made_from_held


def _is_held_back(image: Any, open_ids: Sequence[UUID]) -> Any:
    """Say whether an image is of a test patient or in an open campaign; asked of few, by keys."""
    of_patient: Any = aliased(Image)
    asked = [
        image.id.in_(
            select(column).where(
                col(Assignment.campaign_id).in_(open_ids), col(column).is_not(None)
            )
        )
        for column in (Assignment.image_id, Assignment.other_image_id)
    ]
    return sa.or_(
        image.split == "test",
        sa.exists().where(of_patient.patient == image.patient, of_patient.split == "test"),
        *(asked if open_ids else ()),
    )


def state(session: Session) -> list[int]:
    """Return what tells that other images may be vetted: how many rows there are of three kinds."""
    connection = session.connection()
    return [
        connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in (Image, Release, Archived)
    ]


def origins_that_may_be(session: Session) -> list[str]:
    """Return the origins that the workspace has images of."""
    return list(session.exec(select(Image.origin).distinct().order_by(col(Image.origin))))


def releases_that_kept(session: Session, image_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return of images the name of the newest release that kept them."""
    query: Any = (
        sa.select(col(ReleaseDecision.image_id), col(Release.name))
        .join(Release, col(Release.id) == col(ReleaseDecision.release_id))
        .where(
            col(ReleaseDecision.decision) == "kept", col(ReleaseDecision.image_id).in_(image_ids)
        )
        .order_by(col(Release.sequence))
    )
    return {row[0]: row[1] for row in session.connection().execute(query)}


def prompts(session: Session) -> Sequence[Prompt]:
    """Return all prompts."""
    return session.exec(select(Prompt)).all()
