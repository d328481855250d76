"""A long command as work that `curate runs` lists, pauses and stops, by the parts it shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import Stopped
from curate.production.run import ended
from curate.production.watch import WORK, Watch
from curate.progress import LISTENER, Advance
from db.hashing import json_hash


@contextmanager
def at_work(folder: Path, command: str, *named: object) -> Iterator[None]:
    """Let others watch and steer what is done inside, in the workspace's `folder`.

    Each part that shows its progress is told of, and hears between two advances. `named` is what
    the command was given: the same again is the same work. Raises Stopped when that was asked for.
    """
    watch = Watch(folder, json_hash([command, repr(named)]), planned=0, done=0, command=command)

    def listen(planned: int, what: str) -> Advance:
        done = 0

        def advance(number: int) -> None:
            nonlocal done
            done += number
            watch.part(done, planned, what)
            if not watch.may_go_on():
                raise Stopped(
                    f"Stopped after {done:,} of {planned:,} {what}. The same command goes on; "
                    "what is kept is not done again."
                )

        advance(0)
        return advance

    listener, work = LISTENER.set(listen), WORK.set(watch.state.run_id)
    try:
        with ended(watch):
            yield
        watch.end("finished")
    finally:
        LISTENER.reset(listener)
        WORK.reset(work)
