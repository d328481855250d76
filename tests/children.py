"""Processes of a test's own, forked from one server that has imported the heavy libraries once.

A process that begins with Python alone spends seconds importing torch. A fork of the tests' own
would inherit their threads, and CUDA where there is one. What a child runs is a function of a test
module or of this one.
"""

import multiprocessing
import os
import sys
import time
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
    run: Callable[..., object], folder: Path, kill_after: float | None = None
) -> tuple[int | None, float]:
    """Return the exit status of `run(folder, ready)` and its seconds from its `ready.set()` on.

    It is killed after so many seconds of these.
    """
    ready = CHILDREN.Event()
    child = CHILDREN.Process(target=run, args=(folder, ready))
    child.start()
    assert ready.wait(240)  # the first waits for imports
    begun = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    child.join(120)
    return child.exitcode, time.monotonic() - begun


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
