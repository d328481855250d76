"""A loop taken whole: prompts, a base version, raters and settings for its rounds."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from curate.errors import CurateError
from curate.importing.conditions import ConditionImages
from curate.loop.config import ENDS, LoopConfig, LoopOptions
from curate.loop.gate import power_in_words
from curate.loop.power import looks
from curate.loop.raters import check_loops_eyes
from curate.loop.rounds import Looped, prompts_of, run_loop
from curate.production.versions import version_to_use
from curate.progress import wait_for
from curate.prompts.plan import embedded_prompts, sheet_rows, shipped_prompts
from curate.prompts.sheet import Beside, read_prompt_sheet
from curate.rating.config import SIMULATED
from curate.rating.eyes import eyes_for
from curate.rating.foresee import time_a_task
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


@dataclass(frozen=True)
class WouldLoop:
    """What a loop would still do: its size, and what it asks of people."""

    name: str
    rounds: int
    num_ended: int
    state: str  # of the round at hand; "planned" before it is begun
    raters: str
    num_prompts: int
    images_a_round: int
    gate_images: int
    updates: int
    tasks_a_round: int  # looks at an image, the gate's among them; controls and repeats not
    asks: str
    gate: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        left = self.rounds - self.num_ended
        return [
            f"loop {self.name}: {self.num_ended} of {self.rounds} rounds are over"
            + (f"; round {self.num_ended + 1} is {self.state}" if left > 0 else ""),
            f"each round: {self.images_a_round:,} images of {self.num_prompts} prompts, up to "
            f"{self.gate_images:,} more at the gate, {self.updates} RL updates",
            self.asks,
            self.gate,
        ]


def would_loop(ws: Workspace, options: LoopOptions, given: Given[LoopConfig]) -> WouldLoop:
    """Return what `loop_rounds` would do from here on; the workspace takes back what is written."""
    first = queries.rounds.find_round(ws.session, options.name, 1)
    begun = LoopConfig.from_json(first.config) if first else LoopConfig(name=options.name)
    config = given.over(begun)
    if options.sheet is not None:
        beside = Beside(conditions=ConditionImages(ws, options.sheet.parent, keep=False))
        num_prompts = len(read_prompt_sheet(options.sheet, beside).prompts)
    elif first is not None and first.run_id is not None:
        num_prompts = len(prompts_of(ws, first))
    else:
        num_prompts = len(shipped_prompts())
    rounds = queries.rounds.rounds(ws.session, options.name)
    open_rounds = [row for row in rounds if row.state not in ENDS]
    images, versions = num_prompts * config.images_per_prompt, 3  # base, start and new
    at_gate = versions * num_prompts * config.gate_images_per_prompt + config.gate_real_images
    tasks = looks(config) * (images + at_gate)
    who = "simulated raters look" if config.raters == SIMULATED else "people look"
    time = "" if config.raters == SIMULATED else f", {time_a_task(ws).hours(tasks)}"
    return WouldLoop(
        name=options.name,
        rounds=options.rounds,
        num_ended=len(rounds) - len(open_rounds),
        state=open_rounds[0].state if open_rounds else "planned",
        raters=config.raters,
        num_prompts=num_prompts,
        images_a_round=images,
        gate_images=at_gate - config.gate_real_images,
        updates=config.rl.num_updates,
        tasks_a_round=tasks,
        asks=f"{who} up to {tasks:,} times a round, the gate included{time}",
        gate=power_in_words(config, num_prompts),
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
        wait_for("round that waits for its raters")
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
        f"--raters {config.raters!r} is not known. Use {SIMULATED!r}, or {BACKEND!r} for people."
    )
