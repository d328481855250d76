"""A loop's round taken by single commands: each notes in the round's row what it made.

What a command is not told it takes from the round, so that the row becomes the one that the loop
itself would have written, and the loop goes on from any state of it. The same command again notes
the same; another result for a step that is done is refused.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from curate.errors import CurateError
from curate.loop.config import LoopConfig
from curate.loop.raters import note_whole_campaigns
from curate.loop.rounds import get_or_start_round, other_settings
from curate.production.plan import settings_hash
from curate.workspace import Workspace
from db import queries
from db.models import ROUND_STATES, GeneratorVersion, Image, Round, Run
from generators.config import SamplingSettings

COMMAND_AFTER = {
    "planned": "generate",
    "generated": "rate push",
    "pushed": "rate pull",
    "rated": "train-reward",
    "trained": "rl-step",
    "stepped": "gate",
    "gate_pushed": "rate pull",
    "gate_rated": "gate",
}


def begin_round(
    ws: Workspace,
    loop_name: str,
    *,
    base: GeneratorVersion,
    images_per_prompt: int,
    sampling: SamplingSettings,
) -> Round:
    """Return the loop's round that waits for its images, begun when the last one has ended.

    `base` counts for a new loop only. CurateError when the round has its images already, or the
    loop was begun with other settings.
    """
    known = list(queries.rounds.rounds(ws.session, loop_name))
    done = [row for row in known if row.state not in COMMAND_AFTER]
    begun = LoopConfig.from_json(known[0].config) if known else LoopConfig(name=loop_name)
    config = replace(begun, images_per_prompt=images_per_prompt, sampling=sampling)
    if known and config != begun:
        raise other_settings(loop_name)
    if known:
        base = queries.versions.find_version(ws.session, known[0].base_version_id)
    return get_or_start_round(ws, config, len(done) + 1, base, done)


def round_for(ws: Workspace, loop_name: str, command: str) -> Round:
    """Return the loop's last round, once it is far enough for this command.

    Raises CurateError that names the command which comes first.
    """
    note_whole_campaigns(ws)
    rows = queries.rounds.rounds(ws.session, loop_name)
    if not rows:
        raise CurateError(
            f"No loop {loop_name!r}. Begin its first round with "
            f"`curate generate --loop {loop_name}`."
        )
    row = rows[-1]
    first_state = next(state for state, then in COMMAND_AFTER.items() if then == command)
    if ROUND_STATES.index(row.state) < ROUND_STATES.index(first_state):
        raise CurateError(
            f"Round {row.number} of loop {loop_name!r} is {row.state}: before "
            f"`curate {command}` comes `curate {COMMAND_AFTER[row.state]}`."
        )
    return row


def note(ws: Workspace, row: Round, state: str, *, made: dict[str, Any], **beside: Any) -> None:
    """Bring the round to this state with what was `made`, its columns; done before: compare.

    Raises CurateError when the round's step was done already with another result.
    """
    if ROUND_STATES.index(row.state) < ROUND_STATES.index(state):
        queries.rounds.advance_round(ws.session, row, state, **made, **beside)
        return
    for column, value in made.items():
        known = getattr(row, column)
        if known != value:
            raise CurateError(
                f"Round {row.number} of loop {row.loop_name!r} has its {_words(column)} already, "
                f"{str(known)[:12]}; this one is {str(value)[:12]}. It is kept, but outside the "
                "loop: leave --loop away to make others."
            )


def images_of_round(ws: Workspace, row: Round) -> Sequence[Image]:
    """Return the images that the round's raters are asked about."""
    run = ws.session.get(Run, row.run_id)
    assert run is not None  # a round that is generated names its run
    return queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))


def _words(column: str) -> str:
    return column.removesuffix("_id").replace("_", " ")
