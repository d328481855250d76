"""One step of a loop's round by its own command: `--loop NAME`, and `curate gate`.

Each takes what it is not told from the round, does its work and notes the result in the row.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from curate.commands.generate import GenerateOptions, Made, generate_images, version_to_use
from curate.commands.loop import LoopOptions, loop_rounds
from curate.commands.rate import Simulated, SimulateOptions, simulate
from curate.commands.rate_people import push
from curate.commands.rl_step import run_rl_step
from curate.errors import CurateError
from curate.loop.by_hand import begin_round, images_of_round, note, round_for
from curate.loop.raters import SIMULATED, note_whole_campaigns
from curate.loop.rounds import (
    Looped,
    campaign_name,
    campaign_seed,
    first_seed,
    prompts_of,
    scales_asked,
)
from curate.rating.label_studio import BACKEND
from curate.rating.plan import PushOptions
from curate.rating.send import Pushed
from curate.scoring.fit import train_reward
from curate.training.rl import doubts_about
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, GeneratorVersion, RewardModel, Round
from generators.rl.config import RLConfig
from rewards.config import RewardConfig

LATEST = "latest"  # what an option says when nothing was chosen


def generate_for(ws: Workspace, loop: str, options: GenerateOptions) -> Made:
    """Make a round's images at seeds that no other round has; the first begins the loop."""
    row = begin_round(
        ws,
        loop,
        base=version_to_use(ws, options.version),
        images_per_prompt=options.count,
        sampling=options.settings,
    )
    _check_version(ws, row, options.version)
    seed = first_seed(row) + options.first_seed
    made = generate_images(ws, replace(options, first_seed=seed, version=row.start_version_id))
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
    row = round_for(ws, loop, "rate push")
    options = replace(
        options,
        name=options.name or _name_of_campaign(ws, row),
        among=frozenset(image.id for image in images_of_round(ws, row)),
        seed=campaign_seed(row, options.seed),
    )
    pushed = push(ws, options, images_from=images_from)
    _note_asked(ws, row, pushed.campaign, BACKEND)
    return pushed


def simulate_for(ws: Workspace, loop: str, options: SimulateOptions) -> list[Simulated]:
    """Let simulated raters rate the round's images."""
    row = round_for(ws, loop, "rate push")
    options = replace(
        options,
        name=options.name or _name_of_campaign(ws, row),
        among=frozenset(image.id for image in images_of_round(ws, row)),
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
    *,
    campaigns: Sequence[str],
    raters: Sequence[str],
    criteria: Sequence[str],
) -> RewardModel:
    """Fit the round's reward model, to the scales that its raters were asked about if not told."""
    row = round_for(ws, loop, "train-reward")
    model = train_reward(
        ws,
        config,
        campaigns=campaigns,
        raters=raters,
        criteria=criteria or scales_asked(ws, row),
    )
    note(ws, row, "trained", made={"reward_model_id": model.id})
    return model


def rl_step_for(
    ws: Workspace,
    loop: str,
    config: RLConfig,
    *,
    version: str,
    reward_model: str,
    sheet: Path | None,
    from_people: bool,
    say: Callable[[str], None],
) -> GeneratorVersion | None:
    """Make the round's new version from its start, by its reward model, on its prompts.

    Returns None in all processes but the one that tells what was made.
    """
    row = round_for(ws, loop, "rl-step")
    _check_version(ws, row, None if version == LATEST else version)
    model_id = row.reward_model_id or ""
    if reward_model != LATEST and not model_id.startswith(reward_model):
        raise CurateError(
            f"Round {row.number} of loop {loop!r} follows reward model {model_id[:12]}, not "
            f"{reward_model}. Leave --reward-model away, or --loop."
        )
    made = run_rl_step(
        ws,
        replace(config, seed=config.seed + row.number),
        version=row.start_version_id,
        reward_model=model_id,
        sheet=sheet,
        from_people=from_people,
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


def gate(ws: Workspace, loop: str, *, images_from: str, say: Callable[[str], None]) -> Looped:
    """Ask blind whether the round's new version is better, and end the round when all answered."""
    row = round_for(ws, loop, "gate")
    return loop_rounds(
        ws, LoopOptions(rounds=row.number, name=loop, images_from=images_from), say=say
    )


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
            f"{row.start_version_id[:12]}, not {wanted[:12]}. Leave --version away, or --loop."
        )
