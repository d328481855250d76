"""Work for a process beside the site that needs no torch, and can be told to stand still."""

import time
from multiprocessing.connection import Connection
from pathlib import Path


def labour(folder: Path, pipe: Connection) -> None:
    """Answer with the folder and what was asked; "fail" fails, "stand" never ends."""
    while True:
        try:
            kind, asked = pipe.recv()
        except EOFError:
            return
        pipe.send(("part", (folder.name, asked["n"])))
        if kind == "stand":
            time.sleep(600)
        pipe.send(("failed", "as asked") if kind == "fail" else ("done", ""))


def refuse(folder: Path, pipe: Connection) -> None:
    """Make nothing of whatever is asked."""
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(("failed", "Nothing is made here."))
