"""What a run or another long command is doing, for whoever asks; its orders: pause, go on, stop.

In the workspace's folder `runs/`, by run: ID.json (how it is, rewritten every second), ID.jsonl
(its log, a JSON object a line) and ID.wanted (a word). Files, so that they work while the database
does not. Standard library only: `curate status` reads them.
"""

import datetime as dt
import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from curate.errors import CurateError, is_full_disk
from db.folders import replace_file

FOLDER = "runs"
WANTED = {  # what a run can be asked, and what it does then
    "run": "goes on.",
    "pause": "waits after its present batch or step; `curate runs resume` lets it go on.",
    "stop": "ends after its present batch or step; the same command goes on later.",
}
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LOG_LINES = 30.0  # about progress; what matters is logged at once
RATE_WINDOW_S = 60.0
# A working run says something after every batch or step. Silent for longer, it was killed: its
SILENT_S = 300.0  # process cannot be seen from another machine,
SILENT_HERE_S = 3600.0  # and here it can, but its number may be another's by now
TOLD = (
    "out-of-memory",
    "database-lost",
    "database-back",
    "non-finite",
    "paused",
    "resumed",
    "worker-lost",
)

Say = Callable[[str], None]
WORK: ContextVar[str] = ContextVar("WORK", default="")  # the id of the command at work here


@dataclass(frozen=True)
class RunState:
    """How a run of `curate generate` is, a training, or another long command."""

    run_id: str
    state: str  # "starting", "running", "paused", "stopped", "finished", "failed"
    planned: int
    done: int  # images of the plan that have a row, whichever run made them; or steps taken
    what: str = "images"  # what is counted; "steps" of a training; a command's present part
    made: int = 0  # by this process
    broken: int = 0  # left out: NaN or infinite pixels
    images_per_second: float = 0.0  # over the last minute
    seconds_left: float | None = None
    device: str = ""
    gpu_memory_gb: float | None = None  # the most that was taken
    batch_size: int = 0  # compute shape; below the settings' own after memory ran out
    num_workers: int = 1
    message: str = ""  # the last thing that was told
    process: int = 0
    host: str = ""
    started_at: str = ""  # ISO 8601, UTC
    updated_at: str = ""
    command: str = ""  # "rl-step"; none of a run of images and of a training, which count alone
    part_of: str = ""  # the id of the command that does this on its way

    @property
    def is_working(self) -> bool:
        """Say whether a process is at it: one that was killed falls silent."""
        if self.state not in ("starting", "running", "paused"):
            return False
        silent = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.updated_at)
        if self.host != socket.gethostname():
            return silent.total_seconds() < SILENT_S or self.state == "starting"
        return silent.total_seconds() < SILENT_HERE_S and _is_alive(self.process)

    @property
    def kind(self) -> str:
        """Return what this is, in a word."""
        return self.command or ("training" if self.what == "steps" else "run")

    def line(self) -> str:
        """Return the state for a person to read."""
        share = f"{self.kind} {self.run_id[:12]}: "
        if self.planned or not self.command:
            share += f"{self.done:,} of {self.planned:,} {self.what}, "
        if not self.is_working:
            killed = self.state in ("starting", "running", "paused")
            state = "killed; the same command goes on" if killed else self.state
            return f"{share}{state}" + (f": {self.message}" if self.state == "failed" else "")
        if self.state == "starting":  # opens the model: no rate, no device yet
            return f"{share}starting"
        left = "" if self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        if self.command:
            return f"{share}{self.state}{left}"
        gpu = "" if self.gpu_memory_gb is None else f", {self.gpu_memory_gb:.1f} GB"
        workers = "" if self.num_workers == 1 else f", {self.num_workers} workers"
        return (
            f"{share}{self.state}, {self.images_per_second:.1f} images/s{left} "
            f"({self.device}{gpu}, batches of {self.batch_size}{workers})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "kind": self.kind, "is_working": self.is_working}


class Watch:
    """What a working run tells, and hears."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        *,
        planned: int,
        done: int,
        say: Say | None = None,
        what: str = "images",
        images_each: int = 1,
        command: str = "",
    ) -> None:
        """Begin a run's state and log below the workspace's `folder`; forget old wishes.

        `images_each` says how many images one of `what` takes: the rate is told in images.
        """
        self._folder = folder / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._say = say or partial(print, file=sys.stderr)
        self._lock = threading.RLock()  # the writing thread tells things too
        self._first_done, self._images_each = done, images_each
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._last_look = self._last_line = 0.0
        self.state = RunState(
            run_id,
            "starting",
            planned,
            done,
            what,
            process=os.getpid(),
            host=socket.gethostname(),
            started_at=_now(),
            updated_at=_now(),
            command=command,
            part_of=WORK.get(),
        )
        _wanted_path(self._folder, run_id).unlink(missing_ok=True)
        self.note("started", planned=planned, done=done)

    def note(self, event: str, **details: Any) -> None:
        """Write a line to the log; tell the user too of what went wrong or was asked for."""
        with self._lock:
            line = {"at": _now(), "event": event, "run": self.state.run_id, **details}
            with (self._folder / f"{self.state.run_id}.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line, default=str) + "\n")
            if event in TOLD:
                words = ", ".join(f"{name} {value}" for name, value in details.items())
                self._update(message=f"{event}: {words}" if words else event)
                self._say(f"{event.replace('-', ' ')}{': ' if words else ''}{words}")
            else:
                self._update()

    def progress(self, made: int, broken: int, **details: Any) -> None:
        """Tell how many images this process has made, at most once a second."""
        now = time.monotonic()
        if now - self._last_look < SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = now
        self._recent.append((now, made))
        while now - self._recent[0][0] > RATE_WINDOW_S and len(self._recent) > 2:
            self._recent.popleft()
        rate = self.rate
        left = self.state.planned - self._first_done - made
        with self._lock:
            self._update(
                state="running",
                made=made,
                done=self._first_done + made,
                broken=broken,
                images_per_second=rate * self._images_each,
                seconds_left=left / rate if rate else None,
                **details,
            )
            if now - self._last_line >= SECONDS_BETWEEN_LOG_LINES:
                self._last_line = now
                self.note(
                    "progress", made=made, images_per_second=round(self.state.images_per_second, 3)
                )

    def part(self, done: int, planned: int, what: str) -> None:
        """Tell how far the present part of a command is; another one has a rate of its own."""
        with self._lock:
            is_new = (planned, what) != (self.state.planned, self.state.what)
            self.state = replace(self.state, planned=planned, what=what, made=done, done=done)
            if is_new:
                self._recent.clear()
                self._recent.append((time.monotonic(), done))
                self.note("part", planned=planned, what=what)
        if is_new or done >= planned:  # however soon after the last look
            self._last_look = 0.0
        self.progress(done, 0)

    @property
    def rate(self) -> float:
        """Return how many a second were made over the last minute."""
        (then, before), (now, made) = self._recent[0], self._recent[-1]
        return (made - before) / (now - then) if now > then else 0.0

    def may_go_on(self) -> bool:
        """Return whether the run shall go on; wait here while it is paused."""
        while (wanted := self.heard()) == "pause":
            time.sleep(SECONDS_BETWEEN_LOOKS / 2)
        return wanted != "stop"

    def heard(self) -> str:
        """Return what is wanted now, "run", "pause" or "stop"; tell when that has changed."""
        try:
            wanted = _wanted_path(self._folder, self.state.run_id).read_text().strip()
        except FileNotFoundError:
            wanted = "run"
        if wanted == "pause":
            if self.state.state != "paused":
                self.note("paused")
            with self._lock:
                self._update(state="paused", images_per_second=0.0, seconds_left=None)
        elif self.state.state == "paused":
            self._recent.clear()
            self._recent.append((time.monotonic(), self.state.made))
            self.note("resumed" if wanted == "run" else "stop-asked")
            with self._lock:
                self._update(state="running")
        return wanted

    def end(self, state: str, *, made: int | None = None, error: str = "", **last: Any) -> None:
        """Write the last state: finished, stopped or failed, with other fields of it."""
        with self._lock:
            made = self.state.made if made is None else made
            # the log's line comes before the state: who follows the log ends with the work
            self.state = replace(
                self.state,
                state=state,
                done=self._first_done + made,
                made=made,
                seconds_left=None,
                message=error or self.state.message,
                **last,
            )
            self.note(state, made=made, **last, **({"error": error} if error else {}))

    def _update(self, **changes: Any) -> None:
        self.state = replace(self.state, updated_at=_now(), **changes)
        path = self._folder / f"{self.state.run_id}.json"
        try:
            replace_file(path, json.dumps(asdict(self.state)).encode(), durable=False)
        except OSError as error:
            if not is_full_disk(error):  # the state only tells; what fills the disk is told by it
                raise


def run_states(folder: Path) -> list[RunState]:
    """Return the states of the workspace's runs, the last to have begun first."""
    states = [state for path in (folder / FOLDER).glob("*.json") if (state := _read(path))]
    return sorted(states, key=lambda state: state.started_at, reverse=True)


def state_of(folder: Path, run_id: str) -> RunState | None:
    """Return a run's state, if it ever worked in this folder."""
    return _read(folder / FOLDER / f"{run_id}.json")


def ask(folder: Path, run_id: str, wanted: str) -> None:
    """Ask a working run to "pause", to "run" on or to "stop"; it hears between two batches."""
    if wanted not in WANTED:
        raise ValueError(f"a run can be asked to {', '.join(WANTED)}, not to {wanted!r}")
    path = _wanted_path(folder / FOLDER, run_id)
    aside = path.with_suffix(".asked")
    aside.write_text(wanted)
    aside.replace(path)


def ask_run(folder: Path, run: str | None, wanted: str) -> str:
    """Ask the run whose id begins with `run`, or the only working one; say what it will do."""
    working = [state for state in run_states(folder) if state.is_working]
    fits = [state for state in working if state.run_id.startswith(run or "")]
    ids = {state.run_id for state in fits}  # who asks for all of a command asks for its parts too
    chosen = [state for state in fits if state.part_of not in ids]
    if len(chosen) == 1:
        ask(folder, chosen[0].run_id, wanted)
        return f"{chosen[0].kind.capitalize()} {chosen[0].run_id[:12]} {WANTED[wanted]}"
    problem = "No run is" if not chosen else f"{len(chosen)} runs are"
    known = ", ".join(state.run_id[:12] for state in working) or "none"
    raise CurateError(f"{problem} at work that fits (at work: {known}). See `curate runs list`.")


def log_lines(folder: Path, run: str | None, *, follow: bool = False) -> Iterator[str]:
    """Yield the log's lines of the run whose id begins with `run`, or of the last to have begun.

    To `follow` waits for more, as long as it works.
    """
    chosen = [s for s in run_states(folder) if s.run_id.startswith(run or "")]
    if not chosen or (run and len(chosen) > 1):
        raise CurateError(
            f"{len(chosen) or 'No'} runs fit{f' {run!r}' if run else ''}. See `curate runs list`."
        )
    state, path = chosen[0], folder / FOLDER / f"{chosen[0].run_id}.jsonl"
    with path.open(encoding="utf-8") as log:
        while True:
            working = follow and (state := _read(path.with_suffix(".json")) or state).is_working
            yield from (line.rstrip("\n") for line in log)
            if not working:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS / 2)


def line_in_words(line: str) -> str:
    """Return a line of a log for a person to read."""
    said = json.loads(line)
    at, event = said.pop("at"), said.pop("event")
    said.pop("run")
    return " ".join([at[:19].replace("T", " "), event, *(f"{n}={v}" for n, v in said.items())])


def _read(path: Path) -> RunState | None:
    try:
        return RunState(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # another curate's fields
        return None


def _wanted_path(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.wanted"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def _duration(seconds: float) -> str:
    minutes, _ = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "under 1 min"
