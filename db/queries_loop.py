"""What the loop asks of the database: its rounds, and real images for the gate."""

import random
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from db.models import Image, Round


def find_round(session: Session, loop_name: str, number: int) -> Round | None:
    """Return a loop's round by its number, from 1."""
    statement = select(Round).where(Round.loop_name == loop_name, Round.number == number)
    return session.exec(statement).first()


def rounds(session: Session, loop_name: str | None = None) -> Sequence[Round]:
    """Return rounds in order, of one loop or of all."""
    statement = select(Round).order_by(col(Round.loop_name), col(Round.number))
    if loop_name is not None:
        statement = statement.where(Round.loop_name == loop_name)
    return session.exec(statement).all()


def add_round(session: Session, **fields: Any) -> Round:
    """Add a round in its first state."""
    row = Round(**fields)
    session.add(row)
    session.commit()
    return row


def draw_real_images(session: Session, count: int, *, seed: int) -> list[Image]:
    """Return a seeded random draw of at most `count` real images."""
    statement = select(Image.id).where(Image.origin == "real").order_by(col(Image.id))
    ids = list(session.exec(statement))
    drawn = random.Random(seed).sample(ids, min(count, len(ids)))
    return list(session.exec(select(Image).where(col(Image.id).in_(drawn)).order_by(col(Image.id))))
