"""One RL step in a workspace: a start version, a reward and prompts in, a new version out."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from curate.cluster.on_ray import version_made_on_ray
from curate.errors import CurateError
from curate.production.config import RayConfig
from curate.production.images import prompt_values
from curate.production.versions import load_version, save_version
from curate.production.work import at_work
from curate.progress import progress
from curate.settings import Given
from curate.tracking import Tracked, tracking
from curate.training.config import RLStepOptions
from curate.training.grid import prompts_to_show, write_grid
from curate.training.rated_images import preferred_pairs, rated_latents, said_for
from curate.training.rl_step import (
    Say,
    base_network,
    cost_of,
    doubts_about,
    fits_of,
    in_words,
    materials_of,
    reward_by,
)
from curate.workspace import Workspace
from db import queries
from db.folders import unfinished_folder
from db.hashing import json_hash
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from db.queries.versions import MadeOf
from generators.base import Prompt, Trajectory, require_trajectory
from generators.rl.algorithms.base import Reward
from generators.rl.config import BEFORE, RLConfig
from generators.rl.progress import UpdateHealth
from generators.rl.source import Source
from generators.rl.trainers import trainer_named
from generators.rl.training import Conduct, Report, Rollouts, TrainedPolicy
from generators.training.checkpoint import CHECKPOINT
from generators.training.processes import ALONE, Processes, joined_processes

NUM_SHOWN = 8  # sample images that trackers are sent,
UPDATES_A_LOOK = 5  # after so many updates each


def run_rl_step(
    ws: Workspace,
    config: RLConfig,
    options: RLStepOptions,
    *,
    say: Say,
    known_prompts: Sequence[PromptRow] = (),
) -> GeneratorVersion | None:
    """Say what a step costs, and take it, showing progress; `materials_of` says from what.

    Returns None in all processes but the one that tells what was made.
    """
    processes = joined_processes()
    say = say if processes.is_first else lambda line: None
    for concern in config.concerns():
        say(f"Note: {concern}")
    with at_work(ws.folder, "rl-step", config, options) if processes.is_first else nullcontext():
        found = materials_of(ws, config, options, say, known_prompts)
        if processes.is_first and not config.is_peers:
            say(in_words(cost_of(ws, config, found, processes)))
        with _reported(config, processes) as report:
            start, prompts, reward = found.start, found.prompts, found.reward_model
            if reward is None:
                made = rl_step_on_people(
                    ws, config, start=start, report=report, processes=processes
                )
            else:
                made = rl_step(
                    ws,
                    config,
                    start=start,
                    prompts=prompts,
                    reward=reward,
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


def as_begun(
    ws: Workspace, config: RLConfig, options: RLStepOptions, given: Given[RLConfig]
) -> RLConfig:
    """Return the settings that the same command had when it was given before, if it was.

    A step that was taken, or stopped after an update, before there were some settings is found
    again, or gone on with, without them, unless one of them is named.
    """
    before = replace(config, **BEFORE)
    if options.roots is not None or set(BEFORE) & set(given.values) or before == config:
        return config
    found = materials_of(ws, config, options, lambda line: None)
    decided: Mapping[str, Any] = {"prompt_ids": [prompt.id for prompt in found.prompts]}
    if found.reward_model is None:
        decided = said_for(ws, before.algorithm).named(ws)
    model_id = None if found.reward_model is None else found.reward_model.id
    made_with, start_id = {**before.to_json(), **decided}, found.start.id
    known = queries.versions.find_rl_version(
        ws.session, parent_id=start_id, reward_model_id=model_id, config=made_with
    )
    stopped = run_folder(ws, made_with, start_id, model_id) / CHECKPOINT
    return before if known is not None or stopped.exists() else config


def rl_step(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompts: Sequence[PromptRow],
    reward: Reward | RewardModelRow,
    report: Report = lambda health: None,
    processes: Processes = ALONE,
) -> GeneratorVersion:
    """Train the start version on a reward; return the new version, a child of the start.

    Stopped anywhere, even by SIGKILL, the same call goes on after the last whole update and ends
    with the same weights. Done before with the same reward model, it returns what it made then.
    A reward that is a function, not a model's row, must be the same function when resumed.
    """
    if config.algorithm == "dpo":
        raise CurateError("dpo learns from comparisons, not from a reward. Use window or nft.")
    prompt_ids = [prompt.id for prompt in prompts]
    known = prompt_values(ws, prompt_ids, loaded=False)
    made_with = {**config.to_json(), "prompt_ids": prompt_ids}
    step = _Step(start.id, start.generator_name, made_with, None)
    if isinstance(reward, RewardModelRow):
        doubts = doubts_about(reward)
        step = replace(step, reward_model_id=reward.id, is_known=True, doubts=doubts)

    def source_for(generator: Trajectory) -> Source:
        asked = reward
        if isinstance(asked, RewardModelRow):
            asked = reward_by(ws, asked, processes.device, generator.output.kind)
        return Rollouts([known[prompt_id] for prompt_id in prompt_ids], asked)

    return _taken(ws, config, step, source_for, report, processes)


def rl_step_on_people(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    report: Report = lambda health: None,
    processes: Processes = ALONE,
) -> GeneratorVersion:
    """Train the start version straight on what people said, without a reward model.

    `nft` learns from the ratings that count, `dpo` from the comparisons. CurateError otherwise.
    """
    said = said_for(ws, config.algorithm)

    def source_for(generator: Trajectory) -> Source:
        if config.algorithm == "nft":
            return rated_latents(ws, generator, said, config)
        return preferred_pairs(ws, generator, said)

    made_with = {**config.to_json(), **said.named(ws)}
    step = _Step(start.id, start.generator_name, made_with, None, is_known=True)
    return _taken(ws, config, step, source_for, report, processes)


@dataclass(frozen=True)
class _Step:
    """What makes this step the one it is; no row, which a lost database would empty."""

    start_id: str
    generator_name: str
    made_with: dict[str, Any]
    reward_model_id: str | None
    is_known: bool = False  # all that decides it is in the database: one made before is the same
    doubts: Sequence[str] = ()  # about the reward


def _taken(
    ws: Workspace,
    config: RLConfig,
    step: _Step,
    source_for: Callable[[Trajectory], Source],
    report: Report,
    processes: Processes,
) -> GeneratorVersion:
    """Return the version that the step makes, or made before; only the first process writes."""
    if step.is_known:
        known = queries.versions.find_rl_version(
            ws.session,
            parent_id=step.start_id,
            reward_model_id=step.reward_model_id,
            config=step.made_with,
        )
        if known is not None:
            return known
    device = processes.device
    generator = require_trajectory(load_version(ws, step.start_id)).to(device)
    base = base_network(ws, ws.session.get_one(GeneratorVersion, step.start_id), config, device)
    source = source_for(generator)
    folder = run_folder(ws, step.made_with, step.start_id, step.reward_model_id)
    ws.session.commit()  # no transaction stays open through the training
    made, settings = "", {**step.made_with, "start": step.start_id, "reward": step.reward_model_id}
    with tracking(ws, "rl-step", folder.name, settings, is_told=processes.is_first) as tracked:
        report = _followed(ws, tracked, config, report, folder.name, generator, source.prompts)
        conduct = Conduct(folder, report, processes, fits_of(ws), base)
        trained = trainer_named(config.algorithm)(generator, source, config, conduct)
        if processes.is_first:
            made = _save_result(ws, trained, step).id
            for health in trained.history:  # one that was told of just before a kill among them
                tracked.update(health.to_json(), trained.policy.config.learning_rate)
            tracked.result(made)
    if processes.is_first:
        shutil.rmtree(folder, ignore_errors=True)  # done: the version's row has the log
    version_id = processes.told(made)[0]
    return ws.session.get_one(GeneratorVersion, version_id)


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


def _followed(
    ws: Workspace,
    tracked: Tracked,
    config: RLConfig,
    report: Report,
    key: str,
    generator: Trajectory,
    prompts: Sequence[Prompt],
) -> Report:
    """Return who is told of updates: the trackers first, with samples at equal seeds, if asked."""
    if not tracked.trackers:
        return report
    shown = prompts_to_show(prompts, NUM_SHOWN)

    def look(num_updates: int) -> None:
        folder = ws.folder / "reports" / "rl-step" / key[:12]
        path = folder / f"update-{num_updates:06}.png"
        if not path.exists():  # the start's weights make the first, a resumed step's too
            write_grid(generator, shown, config.num_steps, path)
        tracked.strip(num_updates, path)

    def told(health: UpdateHealth) -> None:
        tracked.update(health.to_json(), config.learning_rate)
        num_done = health.update + 1
        if num_done % UPDATES_A_LOOK == 0 or num_done == config.num_updates:
            look(num_done)
        report(health)

    look(0)
    return told


def run_folder(
    ws: Workspace, made_with: Mapping[str, Any], start_id: str, reward_model_id: str | None
) -> Path:
    """Return where this very step keeps its checkpoint and its log, `updates.jsonl`."""
    key = json_hash([dict(made_with), start_id, reward_model_id])
    return ws.cache / "rl" / key


def _save_result(ws: Workspace, trained: TrainedPolicy, step: _Step) -> GeneratorVersion:
    policy, history = trained.policy, trained.history
    with unfinished_folder(ws.cache / "unfinished", "weights-") as folder:
        policy.weights.save_result(folder)
        return save_version(
            ws,
            folder,
            generator_name=step.generator_name,
            family=policy.generator.family,
            how_made="rl-step",
            made_of=MadeOf(
                step.start_id,
                "lora" if policy.config.lora_rank else "full",
                config=step.made_with,
                metrics={
                    "updates": [health.to_json() for health in history],
                    "stopped": history[-1].stopped,
                    "concerns": [*policy.config.concerns(), *step.doubts],
                },
                reward_model_id=step.reward_model_id,
                told={"updates": len(history)},
            ),
        )
