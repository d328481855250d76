"""What takes seconds and needs torch: one after the other, in one process beside the site.

The process starts when it is first needed and stays warm. It ends with the site, however that ends:
its pipe breaks. What it makes is kept in memory alone, of the last few jobs.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

from curate.errors import CurateError

MOST_WAITING = 8
MOST_KEPT = 12  # jobs whose results are remembered
ENDED = ("done", "failed", "cancelled")

Work = Callable[[Path, Connection], None]


@dataclass
class QueuedJob:
    """One thing asked of the worker, and what has come of it."""

    kind: str
    asked: Mapping[str, Any]
    id: str = field(default_factory=lambda: uuid4().hex)
    state: str = "waiting"  # working, done, failed, cancelled
    parts: list[Any] = field(default_factory=list)
    said: str = ""  # why it failed

    @property
    def has_ended(self) -> bool:
        """Say whether nothing more will come."""
        return self.state in ENDED

    def as_it_stands(self) -> "QueuedJob":
        """Return a copy that does not move on, so that what is shown is all of one moment."""
        return replace(self, parts=list(self.parts))

    def forget_bytes(self) -> None:
        """Let go of a file that was sent in: the worker has it, or nobody needs it."""
        self.asked = {k: v for k, v in self.asked.items() if not isinstance(v, bytes)}


class Jobs:
    """The queue, and the process that works it off."""

    def __init__(self, folder: Path, work: Work) -> None:
        """Name the workspace and the function that a process of its own runs."""
        self._folder, self._work = folder, work
        self._jobs: OrderedDict[str, QueuedJob] = OrderedDict()
        self._changed = threading.Condition()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def add(self, kind: str, **asked: Any) -> QueuedJob:
        """Queue a job; CurateError when too many wait."""
        job = QueuedJob(kind, asked)
        with self._changed:
            if len(self._waiting()) >= MOST_WAITING:
                raise CurateError(f"{MOST_WAITING} requests wait already. Try again soon.")
            self._jobs[job.id] = job
            ended = [one.id for one in self._jobs.values() if one.has_ended]
            for old in ended[: max(0, len(self._jobs) - MOST_KEPT)]:
                del self._jobs[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return job.as_it_stands()

    def find(self, job_id: str) -> QueuedJob | None:
        """Return a job as it stands, where it is remembered."""
        with self._changed:
            job = self._jobs.get(job_id)
            return job and job.as_it_stands()

    def latest(self, kind: str, **asked: Any) -> QueuedJob | None:
        """Return the last job that asked just this as it stands, where it is remembered."""
        with self._changed:
            same = [job for job in self._jobs.values() if job.kind == kind and job.asked == asked]
            return same[-1].as_it_stands() if same else None

    def place(self, job_id: str) -> int:
        """Return how many stand before a job that waits; 0 for the next."""
        with self._changed:
            waiting = [job.id for job in self._waiting()]
        return waiting.index(job_id) if job_id in waiting else 0

    def cancel(self, job_id: str) -> None:
        """End a job; one at work ends with its process, and the next starts another."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                return
            was_working = job.state == "working"
            if not job.has_ended:
                job.state = "cancelled"
            if not was_working:
                job.forget_bytes()
            elif self._process is not None:
                self._process.kill()
            self._changed.notify_all()

    def close(self) -> None:
        """End the process and the queue."""
        with self._changed:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _waiting(self) -> list[QueuedJob]:
        return [job for job in self._jobs.values() if job.state == "waiting"]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting())
                if self._is_closed:
                    return
                job = self._waiting()[0]
                job.state = "working"
                pipe = self._opened()
            try:
                pipe.send((job.kind, job.asked))
                job.forget_bytes()
                while not job.has_ended:
                    state, value = pipe.recv()
                    with self._changed:
                        if state == "part":
                            job.parts.append(value)
                        elif not job.has_ended:
                            job.said, job.state = value, state
            except (EOFError, OSError):  # it was killed, by `cancel` or from outside
                self._end_process()
                with self._changed:
                    if not job.has_ended:
                        job.said = "The worker ended before it was done. Ask again."
                        job.state = "failed"

    def _opened(self) -> Connection:
        """Return the pipe to a living process, started where there is none."""
        if self._pipe is None or self._process is None or not self._process.is_alive():
            self._end_process()
            context = get_context("spawn")  # a fork would share locks with the site's threads
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=self._work, args=(self._folder, theirs), daemon=True
            )
            self._process.start()
            theirs.close()
        return self._pipe

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
