"""Releases and what they decided of each image."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from db.bulk import insert_new
from db.models import (
    Release,
    ReleaseDecision,
)


def add_release(
    session: Session, release: Release, decisions: Sequence[ReleaseDecision]
) -> Release:
    """Add a release with its decisions in one commit; a known release is left as it is."""
    insert_new(session, Release, [release.model_dump(exclude={"sequence"})])
    insert_new(session, ReleaseDecision, [row.model_dump() for row in decisions])
    session.commit()
    return session.get_one(Release, release.id)


def has_release(session: Session, release_id: str) -> bool:
    """Tell whether a release of this id was exported here."""
    return session.get(Release, release_id) is not None


def releases(session: Session) -> Sequence[Release]:
    """Return all releases, oldest first."""
    return session.exec(select(Release).order_by(col(Release.sequence), col(Release.id))).all()


def decisions_of(session: Session, release_id: str) -> Sequence[ReleaseDecision]:
    """Return what a release decided, one row an image."""
    return session.exec(
        select(ReleaseDecision)
        .where(ReleaseDecision.release_id == release_id)
        .order_by(col(ReleaseDecision.image_id))
    ).all()
