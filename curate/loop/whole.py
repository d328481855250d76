"""A loop taken whole: prompts, a base version, raters and settings for its rounds."""

import time
from collections.abc import Callable, Sequence

from curate.errors import CurateError
from curate.loop.config import LoopConfig, LoopOptions
from curate.loop.raters import check_loops_eyes
from curate.loop.rounds import Looped, prompts_of, run_loop
from curate.production.versions import version_to_use
from curate.prompts.plan import embedded_prompts, sheet_rows
from curate.rating.config import SIMULATED
from curate.rating.label_studio import BACKEND
from curate.rating.raters import Raters
from curate.settings import Given
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt, Round
from rewards.frozen import load_eyes

WATCH_EVERY_S = 30.0

Say = Callable[[str], None]


def loop_rounds(
    ws: Workspace, options: LoopOptions, given: Given[LoopConfig], *, say: Say
) -> Looped:
    """Bring the loop as far as it gets now; settings that are not given stay as it was begun."""
    first = queries.rounds.find_round(ws.session, options.name, 1)
    begun = LoopConfig.from_json(first.config) if first else LoopConfig(name=options.name)
    config = given.over(begun)
    return run_loop(
        ws,
        config,
        rounds=options.rounds,
        base=_base(ws, first, options),
        prompts=_prompts(ws, first, options, say),
        raters=_raters(ws, config, options),
        say=say,
    )


def watch_loop(
    ws: Workspace,
    options: LoopOptions,
    given: Given[LoopConfig],
    *,
    say: Say,
    every_s: float = WATCH_EVERY_S,
) -> Looped:
    """Go on whenever the raters have, until the last round has ended or Ctrl-C."""
    said = None
    while (looped := loop_rounds(ws, options, given, say=say)).waits_for is not None:
        ws.session.commit()
        if looped.waits_for != said:
            say(looped.waits_for)
        said = looped.waits_for
        time.sleep(every_s)
    return looped


def _prompts(
    ws: Workspace, first: Round | None, options: LoopOptions, say: Say
) -> Sequence[Prompt]:
    if options.sheet is not None:
        return sheet_rows(ws, options.sheet, say)
    if first is not None and first.run_id is not None:
        return prompts_of(ws, first)
    return embedded_prompts(ws)


def _raters(ws: Workspace, config: LoopConfig, options: LoopOptions) -> Raters:
    if config.raters == SIMULATED:
        eyes = load_eyes()
        check_loops_eyes(ws, config.name, eyes)
        return Raters(count=config.num_raters, eyes=eyes)
    if config.raters == BACKEND:
        return Raters(images_from=options.pictures.images_from)
    raise CurateError(
        f"--raters {config.raters!r} is not known. Take {SIMULATED!r}, or {BACKEND!r} for people."
    )


def _base(ws: Workspace, first: Round | None, options: LoopOptions) -> GeneratorVersion:
    """Return where the loop begins: what it was begun with before, when it is gone on with."""
    if first is not None and options.start.version is None:
        return queries.versions.find_version(ws.session, first.base_version_id)
    return version_to_use(ws, options.start.version)
