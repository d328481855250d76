"""A lost database is asked again for minutes: a server that restarts costs a run nothing."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from db.engine import Session
from db.errors import ConnectionLost

DATABASE_PATIENCE_S = 600.0  # for how long a lost database is asked again
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Answer = TypeVar("Answer")
Note = Callable[..., None]  # note(event, **details): told of what a run's log should hold


def untold(event: str, **details: Any) -> None:
    """Take a note that nobody reads."""


def patiently(ask: Callable[[], Answer], session: Session, note: Note = untold) -> Answer:
    """Return `ask()`; while the database is lost, take back what was pending and ask again.

    `ask` may run twice, so it must change nothing the second time. Raises ConnectionLost when the
    database stays away for ten minutes.
    """
    deadline = time.monotonic() + DATABASE_PATIENCE_S
    pause, lost = FIRST_PAUSE_S, False
    while True:
        try:
            answer = ask()
            if lost:
                note("database-back")
            return answer
        except ConnectionLost as error:
            session.rollback()
            if time.monotonic() + pause > deadline:
                raise
            note("database-lost", error=str(error), again_in_s=pause)
            lost = True
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
