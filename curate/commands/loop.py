"""`curate loop`: prompts, a base version and settings for the rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curate.commands.generate import rows_of, version_to_use
from curate.config import LoopConfig
from curate.loop import run_loop
from curate.prompts import read_prompt_sheet
from curate.quickstart import quickstart_prompts
from curate.workspace import Workspace
from db import queries, queries_loop
from db.models import GeneratorVersion, Round
from rewards.frozen import load_eyes


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What a loop is asked for on the command line."""

    rounds: int
    sheet: Path | None
    version: str | None
    name: str
    images_per_prompt: int
    updates: int
    seed: int


def loop_rounds(ws: Workspace, options: LoopOptions, *, say: Callable[[str], None]) -> list[Round]:
    """Bring the loop to its last round."""
    prompts = (
        quickstart_prompts(ws)
        if options.sheet is None
        else rows_of(ws, read_prompt_sheet(options.sheet).prompts)
    )
    config = LoopConfig(
        name=options.name, images_per_prompt=options.images_per_prompt, seed=options.seed
    )
    config = replace(config, rl=replace(config.rl, num_updates=options.updates))
    base = _base(ws, options)
    return run_loop(
        ws, config, rounds=options.rounds, base=base, prompts=prompts, eyes=load_eyes(), say=say
    )


def round_lines(rounds: Sequence[Round]) -> list[str]:
    """Return a line a round: its end, and why."""
    return [
        f"round {row.number} of {row.loop_name}: {row.state}: {'; '.join(row.reasons)} "
        "(simulated ratings)"
        for row in rounds
    ]


def _base(ws: Workspace, options: LoopOptions) -> GeneratorVersion:
    """Return where the loop begins: what it was begun with before, when it is gone on with."""
    known = queries_loop.find_round(ws.session, options.name, 1)
    if known is not None and options.version is None:
        return queries.find_version(ws.session, known.base_version_id)
    return version_to_use(ws, options.version)
