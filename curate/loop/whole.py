"""A loop taken whole: prompts, a base version, raters and settings for its rounds."""

import time
from collections.abc import Callable

from curate.errors import CurateError
from curate.loop.config import LoopConfig, LoopOptions
from curate.loop.raters import check_loops_eyes
from curate.loop.rounds import Looped, prompts_of, run_loop
from curate.production.versions import version_to_use
from curate.prompts.plan import embedded_prompts, sheet_rows
from curate.rating.config import SIMULATED
from curate.rating.eyes import eyes_for
from curate.rating.label_studio import BACKEND
from curate.rating.raters import Raters
from curate.settings import Given
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion

WATCH_EVERY_S = 30.0

Say = Callable[[str], None]


def loop_rounds(
    ws: Workspace, options: LoopOptions, given: Given[LoopConfig], *, say: Say
) -> Looped:
    """Bring the loop as far as it gets now; settings that are not given stay as it was begun."""
    first = queries.rounds.find_round(ws.session, options.name, 1)
    begun = LoopConfig.from_json(first.config) if first else LoopConfig(name=options.name)
    config = given.over(begun)
    base = (
        version_to_use(ws, options.start.version)
        if first is None or options.start.version is not None
        else queries.versions.find_version(ws.session, first.base_version_id)
    )
    if options.sheet is not None:
        prompts = sheet_rows(ws, options.sheet, say)
    elif first is not None and first.run_id is not None:
        prompts = prompts_of(ws, first)
    else:
        prompts = embedded_prompts(ws)
    raters = _raters(ws, config, options, base)
    return run_loop(
        ws, config, rounds=options.rounds, base=base, prompts=prompts, raters=raters, say=say
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


def _raters(
    ws: Workspace, config: LoopConfig, options: LoopOptions, base: GeneratorVersion
) -> Raters:
    if config.raters == SIMULATED:
        eyes = eyes_for(ws, base)
        check_loops_eyes(ws, config.name, eyes)
        return Raters(count=config.num_raters, eyes=eyes)
    if config.raters == BACKEND:
        return Raters(images_from=options.pictures.images_from)
    raise CurateError(
        f"--raters {config.raters!r} is not known. Take {SIMULATED!r}, or {BACKEND!r} for people."
    )
