"""Rounds of loops: their states, and the versions they made."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from db.errors import StoreError
from db.models import (
    ROUND_STATES,
    Round,
    utc_now,
)


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


def advance_round(session: Session, round: Round, state: str, **fields: Any) -> None:
    """Bring a round to its next state with what that step made, and commit both together.

    States follow each other as in ROUND_STATES; a round may be rejected from any but a last one.
    Raises StoreError when another process has moved the round on meanwhile.
    """
    if state not in next_states(round.state):
        raise ValueError(f"a round that is {round.state} cannot become {state}")
    unknown = fields.keys() - Round.model_fields.keys()
    if unknown:
        raise ValueError(f"a round has no {', '.join(sorted(unknown))}")
    moved = session.connection().execute(
        sa.update(Round)
        .where(col(Round.id) == round.id, col(Round.state) == round.state)
        .values(state=state, updated_at=utc_now(), **fields)
    )
    if moved.rowcount != 1:
        session.rollback()
        raise StoreError(
            f"Round {round.number} of loop {round.loop_name!r} was moved on by another process. "
            "Let that one finish, then run the same command again."
        )
    session.commit()
    session.refresh(round)


def next_states(state: str) -> tuple[str, ...]:
    """Return the states that may follow."""
    if state in ("promoted", "rejected"):
        return ()
    if state == "gate_rated":
        return ("promoted", "rejected")
    return (ROUND_STATES[ROUND_STATES.index(state) + 1], "rejected")


def rounds_that_made(session: Session, version_ids: Collection[str]) -> dict[str, Round]:
    """Return, by version, the round that made it; the first when several gave the same weights."""
    rows = session.exec(
        select(Round)
        .where(col(Round.new_version_id).in_(sorted(version_ids)))
        .order_by(col(Round.sequence).desc())
    )
    return {row.new_version_id: row for row in rows if row.new_version_id}


def rejected_versions(session: Session) -> dict[str, Round]:
    """Return the versions that a gate rejected and none promoted, with the rejecting round."""
    judged = session.exec(
        select(Round)
        .where(
            col(Round.state).in_(["promoted", "rejected"]), col(Round.new_version_id).is_not(None)
        )
        .order_by(col(Round.sequence))
    ).all()
    promoted = {row.new_version_id for row in judged if row.state == "promoted"}
    return {
        row.new_version_id: row
        for row in judged
        if row.state == "rejected" and row.new_version_id and row.new_version_id not in promoted
    }
