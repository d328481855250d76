"""`curate rate serve` as a process of its own, as a person starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curate.rating.server import stop_serving
from curate.workspace import open_workspace

ROOT = Path(__file__).parents[3]
UP_S = 300  # a first start on a busy machine


@dataclass(frozen=True)
class Serving:
    """A command that is up."""

    command: str  # as the process list shows it
    log: Path

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def serving(folder: Path, arguments: list[str], variables: dict[str, str]) -> Iterator[Serving]:
    """Run it until it says that it is up; end it by `curate rate stop`."""
    log = folder / "serve.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", str(ROOT / "cli.py"), "rate", "serve", *arguments],
            env={**os.environ, **variables},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + UP_S
        while "Raters log in at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        command = Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")
        yield Serving(command, log)
        with open_workspace(folder) as ws:
            assert stop_serving(ws)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
