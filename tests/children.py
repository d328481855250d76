"""Processes of a test's own, forked from one server that has imported the heavy libraries once.

A process that begins with Python alone spends seconds importing torch. A fork of the tests' own
would inherit their threads, and CUDA where there is one. What a child runs is a function of a test
module or of this one.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    [
        "cli",
        "curate.importing.real_images",
        "curate.release.publish",
        "curate.training.finetune",
        "curate.training.rl",
        "generators.families.text_to_image",
        "generators.rl.training",
    ]
)


def started(
    run: Callable[..., object],
    *arguments: Any,
    said: Path | None = None,
) -> BaseProcess:
    """Start `run(*arguments)` in a process; what it prints goes into the file `said`."""
    child = CHILDREN.Process(target=_run, args=(run, arguments, said))
    child.start()
    return child


def ended(run: Callable[..., object], *arguments: Any, **given: Any) -> int | None:
    """Return the exit status of a process that has run `run(*arguments)`."""
    child = started(run, *arguments, **given)
    child.join()
    return child.exitcode


def worked(
    run: Callable[..., object], folder: Path, kill_at: int | None = None
) -> tuple[int | None, int]:
    """Return the exit status of `run(folder)`, and how often it has made bytes durable.

    It is killed when it does so for the `kill_at`th time: by this and not by a clock, so that a
    kill finds a run at work on any machine.
    """
    count = CHILDREN.Value("i", 0, lock=False)  # who is killed lets no lock go
    child = CHILDREN.Process(target=_run_and_count, args=(run, folder, kill_at, count))
    child.start()
    child.join()
    return child.exitcode, count.value


def _run_and_count(
    run: Callable[..., object], folder: Path, kill_at: int | None, count: Any
) -> None:
    sync, lock = os.fsync, threading.Lock()

    def counted(fd: Any) -> None:
        with lock:
            count.value += 1
            if count.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        sync(fd)

    os.fsync = counted
    _run(run, (folder,), None)


def curate(arguments: Sequence[str], folder: Path, paths: Sequence[str] = ()) -> None:
    """Run a command of the command line in `folder`, with more places to import from."""
    import cli

    os.chdir(folder)
    sys.path[:0] = paths
    sys.argv = ["curate", *arguments]
    cli.main()


def _run(run: Callable[..., object], arguments: tuple[Any, ...], said: Path | None) -> None:
    import torch

    torch.set_num_threads(1)
    if said is not None:
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    run(*arguments)
