"""The process beside the site: the only one of its that has torch."""

import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.atlas.config import SearchOptions
from curate.errors import USER_ERRORS, CurateError
from curate.rating.config import PushOptions
from curate.workspace import Workspace, open_workspace, read_workspace
from db import queries

if TYPE_CHECKING:
    from curate.atlas.likeness import Searcher
    from curate.site.making import Bench


def work(folder: Path, pipe: Connection) -> None:
    """Answer until the site ends; each question opens the workspace, most of them to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the site's
    while True:
        try:
            kind, asked = pipe.recv()
        except EOFError:
            return
        try:
            opened = open_workspace if kind in WRITES else read_workspace
            with opened(folder) as ws:
                for part in KINDS[kind](ws, asked):
                    pipe.send(("part", part))
            answer = ("done", "")
        except USER_ERRORS as error:
            answer = ("failed", str(error))
        except Exception:  # a bug: told to whoever runs the site, never to the browser
            traceback.print_exc(file=sys.stderr)
            answer = ("failed", "Something went wrong; the site's terminal says what.")
        pipe.send(answer)


def _search(ws: Workspace, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the list of what was found."""
    options: SearchOptions = asked["options"]
    if "image_id" in asked:
        yield _searcher().by_image(ws, asked["image_id"], options)
    else:
        yield _searcher().by_file(ws, asked["content"], asked["name"], options)


@cache
def _searcher() -> "Searcher":
    from curate.atlas.likeness import Searcher

    return Searcher()


def _inputs(ws: Workspace, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what a version takes."""
    yield _bench().inputs(ws, asked["version_id"])


def _try(ws: Workspace, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the images one by one."""
    return _bench().tried(ws, asked["wish"])


def _keep(ws: Workspace, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what became of each run."""
    from curate.site.making import keep

    return keep(ws, asked["wish"])


def _study(ws: Workspace, asked: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the name of the campaign that was made of a selection."""
    from curate.rating.plan import plan_campaign

    options: PushOptions = asked["options"]
    if queries.campaigns.find_campaign(ws.session, options.name) is not None:
        raise CurateError(f"There is a study {options.name!r} already. Give another name.")
    yield plan_campaign(ws, options).name


@cache
def _bench() -> "Bench":
    from curate.site.making import Bench

    return Bench()


KINDS = {"search": _search, "inputs": _inputs, "try": _try, "keep": _keep, "study": _study}
WRITES = ("keep", "study")
