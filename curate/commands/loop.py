"""`curate loop`: prompts, a base version, raters and settings for the rounds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.commands.generate import rows_of, version_to_use
from curate.errors import CurateError
from curate.loop.config import LoopConfig
from curate.loop.raters import SIMULATED, PeopleInLabelStudio, Raters, SimulatedRaters
from curate.loop.rounds import Looped, prompts_of, run_loop
from curate.prompts.plan import read_sheet
from curate.quickstart import quickstart_prompts
from curate.rating.label_studio import BACKEND
from curate.rating.send import LOCAL
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Prompt, Round
from rewards.frozen import load_eyes

WATCH_EVERY_S = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What a loop is asked for; None: as it was begun, or the defaults of LoopConfig."""

    rounds: int
    sheet: Path | None = None
    version: str | None = None
    name: str
    raters: str | None = None
    images_from: str = LOCAL
    images_per_prompt: int | None = None
    gate_images_per_prompt: int | None = None
    updates: int | None = None
    seed: int | None = None


def loop_rounds(ws: Workspace, options: LoopOptions, *, say: Say) -> Looped:
    """Bring the loop as far as it gets now."""
    first = queries.rounds.find_round(ws.session, options.name, 1)
    config = _config(first, options)
    return run_loop(
        ws,
        config,
        rounds=options.rounds,
        base=_base(ws, first, options),
        prompts=_prompts(ws, first, options),
        raters=_raters(ws, config, options),
        say=say,
    )


def watch_loop(
    ws: Workspace, options: LoopOptions, *, say: Say, every_s: float = WATCH_EVERY_S
) -> Looped:
    """Go on whenever the raters have, until the last round has ended or Ctrl-C."""
    said = None
    while (looped := loop_rounds(ws, options, say=say)).waits_for is not None:
        ws.session.commit()
        if looped.waits_for != said:
            say(looped.waits_for)
        said = looped.waits_for
        time.sleep(every_s)
    return looped


def looped_lines(looped: Looped) -> list[str]:
    """Return a line a round: its end and why, or what it waits for."""
    ended = looped.rounds if looped.waits_for is None else looped.rounds[:-1]
    lines = [_ended_line(row) for row in ended]
    return lines if looped.waits_for is None else [*lines, looped.waits_for]


def looped_json(looped: Looped) -> dict[str, Any]:
    """Return plain values."""
    return {
        "rounds": [row.model_dump(mode="json") for row in looped.rounds],
        "waits_for": looped.waits_for,
    }


def _ended_line(row: Round) -> str:
    simulated = " (simulated ratings)" if row.config.get("raters") == SIMULATED else ""
    return (
        f"round {row.number} of {row.loop_name}: {row.state}: {'; '.join(row.reasons)}{simulated}"
    )


def _config(first: Round | None, options: LoopOptions) -> LoopConfig:
    begun = LoopConfig.from_json(first.config) if first else LoopConfig(name=options.name)
    asked = {
        "raters": options.raters,
        "images_per_prompt": options.images_per_prompt,
        "gate_images_per_prompt": options.gate_images_per_prompt,
        "seed": options.seed,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if options.updates is not None:
        given["rl"] = replace(begun.rl, num_updates=options.updates)
    return replace(begun, **given)


def _prompts(ws: Workspace, first: Round | None, options: LoopOptions) -> Sequence[Prompt]:
    if options.sheet is not None:
        return rows_of(ws, read_sheet(ws, options.sheet).prompts)
    if first is not None and first.run_id is not None:
        return prompts_of(ws, first)
    return quickstart_prompts(ws)


def _raters(ws: Workspace, config: LoopConfig, options: LoopOptions) -> Raters:
    if config.raters == SIMULATED:
        return SimulatedRaters(ws, count=config.num_raters, eyes=load_eyes())
    if config.raters == BACKEND:
        return PeopleInLabelStudio(ws, images_from=options.images_from)
    raise CurateError(
        f"--raters {config.raters!r} is not known. Take {SIMULATED!r}, or {BACKEND!r} for people."
    )


def _base(ws: Workspace, first: Round | None, options: LoopOptions) -> GeneratorVersion:
    """Return where the loop begins: what it was begun with before, when it is gone on with."""
    if first is not None and options.version is None:
        return queries.versions.find_version(ws.session, first.base_version_id)
    return version_to_use(ws, options.version)
