"""Folders and files that appear whole or not at all: written aside, made durable, renamed.

A folder that is being written is locked. The system gives the lock back when its process dies, so
"nobody holds it" is the one sign that it was abandoned: neither its name nor its age says so.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

NUM_SYNCERS = 16  # threads that wait for the disk; it syncs what waits together at once
MANY_SYNCS = 8  # fewer are not worth the threads


@contextmanager
def unfinished_folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """Give a new locked folder in `parent`; what was not renamed is removed at the end.

    With a `prefix`, what killed processes left under the same one is removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    if prefix:
        remove_abandoned(parent, prefix)
    folder, lock = _new_locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already when it was renamed
        os.close(lock)


def remove_abandoned(parent: Path, prefix: str = "") -> None:
    """Remove what killed processes left in `parent`: what begins so and nobody holds."""
    for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.startswith(prefix):
            with suppress(OSError), _locked_if_free(path):  # locked, gone, or not ours
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def publish_folder(folder: Path, place: Path) -> None:
    """Make all of a folder durable, then give it its name, where nothing or an empty folder is.

    Raises FileExistsError where the place holds anything.
    """
    inside = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
    sync(str(path) for path in [*inside, *folders_below(folder), folder])
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(error.errno, "is occupied", str(place)) from error
        raise
    sync([str(place.parent)])


def folders_below(folder: Path) -> list[Path]:
    """Return every folder inside, at any depth."""
    return [Path(parent) / name for parent, names, _ in os.walk(folder) for name in names]


def replace_file(path: Path, content: bytes, *, mode: int = 0o666, durable: bool = True) -> None:
    """Write a file whole: aside, renamed over what was there; `mode` from the start.

    It is durable, unless that does not matter. What a killed process left aside is used again, so
    that nothing stays; a process that is writing the same file is waited for.
    """
    rewrite_file(path, lambda: content, mode=mode, durable=durable)


def rewrite_file(
    path: Path, rewritten: Callable[[], bytes], *, mode: int = 0o666, durable: bool = True
) -> None:
    """Replace a file with what `rewritten` returns, which nobody else replaces meanwhile.

    What it reads of the file is therefore what is replaced; where it raises, the file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    descriptor = _locked_file(aside, mode)
    try:
        content = rewritten()
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.truncate()
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _locked_file(path: Path, mode: int) -> int:
    """Open a file, made if need be, that no other process holds by then; `mode` at most is its."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        status = os.fstat(descriptor)
        with suppress(FileNotFoundError):
            if os.path.samestat(status, path.stat()):
                os.fchmod(descriptor, status.st_mode & mode)
                return descriptor
        os.close(descriptor)  # another process has given it its name, or removed it


def sync(paths: Iterable[str]) -> None:
    """Sync files or folders from several threads: the file system makes them durable together."""
    several = list(paths)
    if len(several) < MANY_SYNCS:
        for path in several:
            _sync_one(path)
        return
    with ThreadPoolExecutor(NUM_SYNCERS) as syncers:
        for _ in syncers.map(_sync_one, several):
            pass


def _sync_one(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = parent / f"{prefix}{uuid4().hex}"
        folder.mkdir()
        with suppress(FileNotFoundError):  # another process removed it as abandoned
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)  # the system gives it back when this process dies
            if folder.exists():
                return folder, lock
            os.close(lock)


@contextmanager
def _locked_if_free(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
