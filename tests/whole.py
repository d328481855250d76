"""Folders that test processes share: made aside under a lock, renamed when they are whole."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, filled by `make` when no process has done so before.

    A second process waits for the first. Of a `make` that fails or is killed nothing is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            aside = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(aside, ignore_errors=True)  # a killed process's
            aside.mkdir()
            make(aside)
            aside.rename(folder)
    return folder
