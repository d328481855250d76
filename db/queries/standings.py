"""What images are ordered by beside their scores, stored when it becomes known."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col, select

from db.bulk import insert_new
from db.models import Standing
from db.queries.campaigns import campaigns
from db.queries.ratings import RatingView, current_ratings, is_open

COLUMNS = {"train_distance": Standing.train_distance, "disagreement": Standing.disagreement}


def note_standings(session: Session, column: str, values: Mapping[UUID, float]) -> None:
    """Store one of `COLUMNS` for these images, in place of what was there; the caller commits."""
    insert_new(session, Standing, [{"image_id": image_id} for image_id in values])
    if values:
        table = SQLModel.metadata.tables["standing"]
        update = sa.update(table).where(table.c.image_id == sa.bindparam("of"))
        rows = [{"of": image_id, column: value} for image_id, value in values.items()]
        session.connection().execute(update, rows)


def note_disagreement(session: Session, campaign_id: UUID) -> None:
    """Store how far a campaign's raters disagree about each image, once nobody is to answer.

    Of an image that several campaigns asked about, the last one to end says it. Whoever goes on
    writing commits.
    """
    if not is_open(session, campaign_id):
        found = disagreements(current_ratings(session, campaign_id=campaign_id))
        note_standings(session, "disagreement", found)


def disagreements(ratings: Sequence[RatingView]) -> dict[UUID, float]:
    """Return how far raters disagree about each image that two or more rated, 0 .. 1.

    Twice the standard deviation over raters of their values, the scale's ends being 0 and 1: 1 when
    half of them say one end and half the other. Of several criteria the largest; of a rater who saw
    an image twice the mean.
    """
    said: dict[tuple[UUID, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for view in ratings:
        share = (view.value - view.min_value) / (view.max_value - view.min_value)
        said[view.image_id, view.criterion][view.rater].append(share)
    found: dict[UUID, float] = {}
    for (image_id, _), by_rater in said.items():
        if len(by_rater) > 1:
            spread = 2 * pstdev([fmean(shares) for shares in by_rater.values()])
            found[image_id] = max(found.get(image_id, 0.0), min(spread, 1.0))
    return found


def catch_up(session: Session) -> None:
    """Note the disagreement of campaigns that ended before it was stored; commits."""
    if not has_standings(session, "disagreement"):
        for campaign in campaigns(session):
            note_disagreement(session, campaign.id)
        session.commit()


def has_standings(session: Session, column: str) -> bool:
    """Say whether any image has a value in one of `COLUMNS`."""
    known = select(Standing.image_id).where(col(COLUMNS[column]).is_not(None)).limit(1)
    return session.exec(known).first() is not None
