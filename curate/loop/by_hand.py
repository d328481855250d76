"""A loop's round taken by single commands: each notes in the round's row what it made.

What a command is not told it takes from the round, so that the row becomes the one that the loop
itself would have written, and the loop goes on from any state of it. The same command again notes
the same; another result for a step that is done is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from curate.errors import CurateError
from curate.loop.config import LoopConfig, LoopOptions
from curate.loop.raters import check_loops_eyes, note_whole_campaigns
from curate.loop.rounds import (
    COUNTED,
    Looped,
    campaign_name,
    campaign_seed,
    first_seed,
    get_or_start_round,
    other_settings,
    prompts_of,
    rubric_begun,
    sampling_of,
    scales_asked,
)
from curate.loop.whole import loop_rounds
from curate.production.config import GenerateOptions
from curate.production.plan import settings_hash
from curate.production.run import run_plan
from curate.production.versions import version_to_use
from curate.prompts.generate import Made, MakeRun, generate_images
from curate.rating.config import SIMULATED, Pictures, PushOptions, SimulateOptions
from curate.rating.eyes import eyes_for
from curate.rating.label_studio import BACKEND
from curate.rating.send import Pushed, push
from curate.rating.simulate import SimulatedRatings, simulate
from curate.scoring.config import FitOptions
from curate.scoring.fit import train_reward
from curate.settings import Given
from curate.training.config import RLStepOptions
from curate.training.rl import run_rl_step
from curate.training.rl_step import doubts_about
from curate.workspace import Workspace
from db import queries
from db.models import ROUND_STATES, Campaign, GeneratorVersion, Image, RewardModel, Round, Run
from generators.config import SamplingSettings
from generators.rl.config import RLConfig
from rewards.config import RewardConfig

LATEST = "latest"  # what an option says when nothing was chosen
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


def generate_for(
    ws: Workspace, loop: str, options: GenerateOptions, make: MakeRun = run_plan
) -> Made:
    """Make a round's images at seeds that no other round has; the first begins the loop."""
    first = queries.rounds.find_round(ws.session, loop, 1)
    custom = sampling_of(ws, first, options.settings).own_noise
    options = options.with_noise(own=custom)
    row = begin_round(
        ws,
        loop,
        base=version_to_use(ws, options.generator.version),
        images_per_prompt=options.count,
        sampling=options.settings,
    )
    _check_version(ws, row, options.generator.version)
    seed = first_seed(row) + options.first_seed
    start = replace(options.generator, version=row.start_version_id)
    made = generate_images(ws, replace(options, first_seed=seed, generator=start), make)
    if len(made.runs) > 1:
        raise CurateError(
            f"A round is one run, and these prompts made {len(made.runs)}: give all of them one "
            "--count, no counts or seeds of their own, and at most 4,096 prompts."
        )
    if made.is_whole and not made.dry_run:
        note(ws, row, "generated", made={"run_id": made.runs[0].run_id})
    return made


def push_for(ws: Workspace, loop: str, options: PushOptions, *, images_from: str) -> Pushed:
    """Ask people about the round's images."""
    row, options = push_of_round(ws, loop, options)
    pushed = push(ws, options, images_from=images_from)
    _note_asked(ws, row, pushed.campaign, BACKEND)
    return pushed


def push_of_round(ws: Workspace, loop: str, options: PushOptions) -> tuple[Round, PushOptions]:
    """Return the round and what its push asks: what is not named comes from the round."""
    row = round_for(ws, loop, "rate push")
    return row, replace(
        options,
        name=options.name or _name_of_campaign(ws, row),
        among=frozenset(image.id for image in images_of_round(ws, row)),
        rubric_id=rubric_begun(ws, loop) if options.rubric is None else None,
        seed=campaign_seed(row, options.seed),
    )


def simulate_for(ws: Workspace, loop: str, options: SimulateOptions) -> list[SimulatedRatings]:
    """Let simulated raters rate the round's images."""
    row = round_for(ws, loop, "rate push")
    start = queries.versions.find_version(ws.session, row.start_version_id)
    check_loops_eyes(ws, loop, eyes_for(ws, start))
    options = replace(
        options,
        name=options.name or _name_of_campaign(ws, row),
        among=frozenset(image.id for image in images_of_round(ws, row)),
        rubric_id=rubric_begun(ws, loop),
        seed=campaign_seed(row, options.seed),
    )
    done = simulate(ws, options)
    _note_asked(ws, row, done[0].campaign, SIMULATED)
    note_whole_campaigns(ws)
    return done


def train_for(
    ws: Workspace,
    loop: str,
    config: RewardConfig,
    options: FitOptions,
) -> RewardModel:
    """Fit the round's reward model, to the scales that its raters were asked about if not told."""
    row = round_for(ws, loop, "train-reward")
    model = train_reward(
        ws,
        config,
        campaigns=options.campaigns,
        raters=options.raters,
        criteria=options.criteria or scales_asked(ws, row),
    )
    note(ws, row, "trained", made={"reward_model_id": model.id})
    return model


def rl_step_for(
    ws: Workspace,
    loop: str,
    config: RLConfig,
    options: RLStepOptions,
    *,
    say: Callable[[str], None],
) -> GeneratorVersion | None:
    """Make the round's new version from its start, by its reward model, on its prompts.

    Returns None in all processes but the one that tells what was made.
    """
    row = round_for(ws, loop, "rl-step")
    _check_version(ws, row, None if options.version == LATEST else options.version)
    model_id = row.reward_model_id or ""
    if options.reward_model != LATEST and not model_id.startswith(options.reward_model):
        raise CurateError(
            f"Round {row.number} of loop {loop!r} follows reward model {model_id[:12]}, not "
            f"{options.reward_model}. Omit --reward-model or --loop."
        )
    made = run_rl_step(
        ws,
        replace(config, seed=config.seed + row.number),
        replace(options, version=row.start_version_id, reward_model=model_id),
        say=say,
        known_prompts=prompts_of(ws, row),
    )
    if made is None:
        return None
    doubts = doubts_about(ws.session.get_one(RewardModel, model_id))
    note(
        ws,
        row,
        "stepped",
        made={"new_version_id": made.id},
        metrics={"doubts": doubts},
        config={**row.config, "rl": config.to_json()},
    )
    return made


def gate(
    ws: Workspace,
    loop: str,
    *,
    images_from: str,
    say: Callable[[str], None],
    machines: Sequence[str] = (),
) -> Looped:
    """Ask blind whether the round's new version is better, and end the round when all answered.

    Machines count as raters where they are named; one that has not rated the gate's images is an
    error before anything is decided.
    """
    row = round_for(ws, loop, "gate")
    if machines:
        row.metrics = {**row.metrics, COUNTED: list(machines)}
        ws.session.add(row)
        ws.session.commit()
    options = LoopOptions(rounds=row.number, name=loop, pictures=Pictures(images_from=images_from))
    return loop_rounds(ws, options, Given({}), say=say)


def _name_of_campaign(ws: Workspace, row: Round) -> str:
    known = row.campaign_id and ws.session.get(Campaign, row.campaign_id)
    return known.name if known else campaign_name(row)


def _note_asked(ws: Workspace, row: Round, campaign: str, raters: str) -> None:
    asked = queries.campaigns.find_campaign(ws.session, campaign)
    assert asked is not None  # it was just made or completed
    note(
        ws,
        row,
        "pushed",
        made={"campaign_id": asked.id},
        config={**row.config, "raters": raters},
    )


def _check_version(ws: Workspace, row: Round, name: str | None) -> None:
    """A round begins where the last promoted one ended, whatever is asked for."""
    if name is None:
        return
    wanted = queries.versions.find_version(ws.session, name).id
    if wanted != row.start_version_id:
        raise CurateError(
            f"Round {row.number} of loop {row.loop_name!r} starts from version "
            f"{row.start_version_id[:12]}, not {wanted[:12]}. Omit --version or --loop."
        )


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
            made_before = column.removesuffix("_id").replace("_", " ")
            raise CurateError(
                f"Round {row.number} of loop {row.loop_name!r} has its {made_before} already, "
                f"{str(known)[:12]}; this one is {str(value)[:12]}. It is kept, but outside the "
                "loop: omit --loop to make others."
            )


def images_of_round(ws: Workspace, row: Round) -> Sequence[Image]:
    """Return the images that the round's raters are asked about."""
    run = ws.session.get(Run, row.run_id)
    assert run is not None  # a round that is generated names its run
    return queries.runs.images_of_run(ws.session, run, settings_hash(run.settings))
