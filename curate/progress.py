"""How far a long command has come: a bar on a terminal, plain lines elsewhere, both on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from curate.quiet import QUIET

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal, in a log

Advance = Callable[[int], None]
ShowProgress = Callable[[int, str], AbstractContextManager[Advance]]  # `progress` is one
# who else is told of each part of the present command, and may end it by an error
Listener = Callable[[int, str], Advance]
LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)


@contextmanager
def progress(total: int, what: str) -> Iterator[Advance]:
    """Show progress over `total` of `what` ("images"), with the rate and the time left.

    Yields a function that is told how many more are done.
    """
    console = Console(stderr=True, quiet=QUIET.get())
    shown = _bar(console, total, what) if console.is_terminal else _lines(console, total, what)
    listener = LISTENER.get()
    with shown as advance:
        if listener is None:
            yield advance
            return
        tell = listener(total, what)

        def advance_and_tell(number: int) -> None:
            advance(number)
            tell(number)

        yield advance_and_tell


def wait_for(what: str) -> None:
    """Tell who watches the present command that it waits for `what`; they may end it."""
    listener = LISTENER.get()
    if listener is not None:
        listener(1, what)


def _unit(what: str) -> str:
    """Return what is counted: "images" of "images of version 3fa1c2"."""
    return what.partition(" of ")[0]


class _RateColumn(ProgressColumn):
    def __init__(self, what: str) -> None:
        super().__init__()
        self._unit = _unit(what)

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self._unit}/s")


@contextmanager
def _bar(console: Console, total: int, what: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(what),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)


@contextmanager
def _lines(console: Console, total: int, what: str) -> Iterator[Advance]:
    started = last_line = time.monotonic()
    done = 0

    def advance(number: int) -> None:
        nonlocal done, last_line
        done += number
        now = time.monotonic()
        if done >= total or now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            line = f"{done} of {total} {what}"
            if done:  # before that there is no rate, and no time left to tell
                rate = done / max(now - started, 1e-9)
                line += f", {rate:.1f} {_unit(what)}/s, {(total - done) / rate:.0f} s left"
            console.print(line, soft_wrap=True, highlight=False)

    yield advance
