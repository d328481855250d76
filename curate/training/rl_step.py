"""An RL step as it is asked for: what it needs is found, its price said, its progress shown."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from curate.cluster.on_ray import version_made_on_ray
from curate.production.config import RayConfig
from curate.progress import progress
from curate.prompts.plan import sheet_rows
from curate.settings import Given
from curate.training.config import RLStepOptions
from curate.training.rl import (
    cost_of,
    doubts_about,
    prompts_to_practise,
    rl_step_on_model,
    rl_step_on_people,
)
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from generators.rl.config import RLConfig, usual
from generators.rl.estimate import Cost
from generators.rl.peers.ddpo_config import read_ddpo_config
from generators.rl.progress import UpdateHealth
from generators.rl.training import Report
from generators.training.processes import Processes, joined_processes

Say = Callable[[str], None]

ADVICE = (
    "Take one small step (--kl-target 0.003), or only filter images by score, and let people rate "
    "before the next."
)


def rl_config(given: Given[RLConfig], ddpo_config: Path | None, say: Say) -> RLConfig:
    """Return the settings that were named, beside the algorithm's usual ones or a DDPOConfig's."""
    if ddpo_config is None:
        return usual(**given.values)
    config, notes = read_ddpo_config(ddpo_config)
    for note in notes:
        say(f"DDPOConfig: {note}")
    return given.over(config)


def run_rl_step(
    ws: Workspace,
    config: RLConfig,
    options: RLStepOptions,
    *,
    say: Say,
    known_prompts: Sequence[PromptRow] = (),
) -> GeneratorVersion | None:
    """Take an RL step from a version by a reward model, each named by "latest" or an id's start.

    Returns None in all processes but the one that tells what was made.

    Without a prompt sheet it practises on `known_prompts`; without these, on the prompts whose
    images the reward model was fitted to.
    """
    processes = joined_processes()
    say = say if processes.is_first else lambda line: None
    for concern in config.concerns():
        say(f"Note: {concern}")
    start, model, prompts = _materials(ws, config, options, say, known_prompts)
    if processes.is_first and not config.is_peers:
        say(in_words(_price(ws, config, start, model, prompts, processes)))
    with _reported(config, processes) as report:
        if model is None:
            made = rl_step_on_people(ws, config, start=start, report=report, processes=processes)
        else:
            made = rl_step_on_model(
                ws,
                config,
                start=start,
                prompts=prompts,
                reward_model=model,
                report=report,
                processes=processes,
            )
    return made if processes.is_first else None


def rl_step_on_ray(
    ws: Workspace, config: RLConfig, options: RLStepOptions, ray: RayConfig, *, say: Say
) -> GeneratorVersion:
    """Take the step in several processes of a Ray cluster that train together."""
    # after the result is kept, "latest" would be the result
    start = queries.versions.find_version(ws.session, options.version)
    pinned = replace(options, version=start.id)
    return version_made_on_ray(
        ws, partial(run_rl_step, config=config, options=pinned, say=say), ray
    )


def price_of_rl_step(
    ws: Workspace,
    config: RLConfig,
    options: RLStepOptions,
    *,
    say: Say,
) -> Cost:
    """Return what `run_rl_step` would cost, without taking the step."""
    found = _materials(ws, config, options, say, ())
    return _price(ws, config, *found, joined_processes())


def _materials(
    ws: Workspace,
    config: RLConfig,
    options: RLStepOptions,
    say: Say,
    known_prompts: Sequence[PromptRow],
) -> tuple[GeneratorVersion, RewardModelRow | None, Sequence[PromptRow]]:
    """Return start, reward model and prompts; neither of the last two where people have said it."""
    start = queries.versions.find_version(ws.session, options.version)
    if options.from_ratings or config.algorithm == "dpo":
        return start, None, ()
    model = queries.reward_models.find_reward_model(ws.session, options.reward_model)
    prompts = (
        sheet_rows(ws, options.sheet, say)
        if options.sheet
        else known_prompts or prompts_to_practise(ws, model)
    )
    for doubt in doubts_about(model):
        say(f"Note: {doubt}. {ADVICE}")
    return start, model, prompts


def _price(
    ws: Workspace,
    config: RLConfig,
    start: GeneratorVersion,
    model: RewardModelRow | None,
    prompts: Sequence[PromptRow],
    processes: Processes,
) -> Cost:
    prompt = prompts[0] if prompts else None
    return cost_of(ws, config, start=start, prompt=prompt, reward_model=model, processes=processes)


@contextmanager
def _reported(config: RLConfig, processes: Processes) -> Iterator[Report]:
    """Yield who is told of updates: a progress bar, of the first process only."""
    if not processes.is_first:
        yield lambda health: None
        return
    with progress(config.num_updates, "updates") as advance:
        num_shown = 0

        def report(health: UpdateHealth) -> None:
            nonlocal num_shown  # what an earlier, stopped run did counts at once
            advance(health.update + 1 - num_shown)
            num_shown = health.update + 1

        yield report


def in_words(cost: Cost) -> str:
    """Return the price in one line."""
    return (
        f"{cost.images} images, {cost.evaluations} U-Net evaluations (rollouts "
        f"{cost.rollout_evaluations}, training {cost.training_evaluations}, anchor "
        f"{cost.kl_evaluations}), {cost.flops / 1e12:.3g} TFLOP, about {cost.seconds / 60:.1f} "
        "minutes with the rewards"
    )
