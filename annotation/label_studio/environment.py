"""The environment that Label Studio runs in: its own, made on first use, every package pinned.

It is kept apart from curate's because the two need different versions of the same packages.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from annotation.config import LABEL_STUDIO_VERSION
from annotation.errors import AnnotationError

FOLDER_VARIABLE = "CURATE_LABEL_STUDIO_ENV"  # a folder for the environment, instead of the cache
COMPLETE = "complete"  # written last: an environment without it was interrupted
PINS = Path(__file__).parent / "pins.txt"


def environment_folder() -> Path:
    """Return where the environment is, or will be made: shared by all workspaces of the user."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(cache) / "curate" / f"label-studio-{LABEL_STUDIO_VERSION}-{python}"


def ensure_environment(folder: Path, *, say: Callable[[str], None]) -> Path:
    """Return the Python of the environment, made first when it is new or was left half-made.

    Takes about a minute and 1 GB from the package index that pip is configured for.
    Raises AnnotationError with pip's last words when that fails.
    """
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second one waits, then finds it made
        if (folder / COMPLETE).is_file():
            return python
        say(f"Making an environment for Label Studio in {folder} (once, a minute or two)")
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--no-input", "--requirement", str(PINS)])
        (folder / COMPLETE).write_text(f"{LABEL_STUDIO_VERSION}\n", encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise AnnotationError(
            f"The environment for Label Studio could not be installed: {last}. It needs a package "
            f"index and 1 GB; or name a folder that holds one with {FOLDER_VARIABLE}, or use a "
            "server that runs elsewhere with `curate rate serve --url`."
        )
