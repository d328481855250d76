"""Rubrics: found by what they say, added as the next version of their name."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.models import Criterion, Rubric
from db.queries_rating import criteria as criteria_of


def get_or_add_rubric(session: Session, rubric: Rubric, criteria: Sequence[Criterion]) -> Rubric:
    """Return the version of this name that says just this, added as the next one if new.

    Not committed: the campaign that uses it is.
    """
    wanted = _content(rubric, criteria)
    query = select(Rubric).where(Rubric.name == rubric.name).order_by(col(Rubric.version))
    for known in session.exec(query):
        if _content(known, criteria_of(session, known.id)) == wanted:
            return known
    newest = select(sa.func.max(Rubric.version)).where(Rubric.name == rubric.name)
    rubric.version = (session.exec(newest).one() or 0) + 1
    session.add(rubric)
    session.flush()
    session.add_all(criteria)
    session.flush()
    return rubric


def _content(rubric: Rubric, criteria: Sequence[Criterion]) -> Any:
    """Return all that a rater would see, or that decides what an answer means."""
    return (
        rubric.instructions,
        rubric.reasons,
        [criterion.model_dump(exclude={"id", "rubric_id"}) for criterion in criteria],
    )
