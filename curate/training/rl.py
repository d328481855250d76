"""One RL step in a workspace: a start version, a reward and prompts in, a new version out."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.production.images import prompt_value, prompt_values
from curate.production.versions import load_version, save_version
from curate.scoring.conditioning import conditioning_of
from curate.training.rated_images import preferred_pairs, rated_latents, said_for
from curate.verified import verified_path
from curate.workspace import Workspace
from db import queries
from db.folders import unfinished_folder
from db.hashing import json_hash
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from generators.base import Prompt, Trajectory, require_trajectory
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.estimate import Cost, OneReward, estimate
from generators.rl.policy import Policy
from generators.rl.probe import found_fit
from generators.rl.source import Source
from generators.rl.trainers import trainer_named
from generators.rl.training import Report, TrainedPolicy, train_on
from generators.training.processes import ALONE, Processes
from rewards.model import RewardModel

TRUSTED_CORRELATION = 0.6  # Spearman, of held-out ratings


def rl_step(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompts: Sequence[PromptRow],
    reward: Reward,
    reward_model_id: str | None = None,
    report: Report = lambda health: None,
    processes: Processes = ALONE,
) -> GeneratorVersion:
    """Train the start version on a reward; return the new version, a child of the start.

    Stopped anywhere, even by SIGKILL, the same call goes on after the last whole update and ends
    with the same weights. Done before with the same reward model, it returns what it made then.
    A reward without a model row (`reward_model_id` None) must be the same function when resumed.
    """
    prompt_ids = [prompt.id for prompt in prompts]
    known = prompt_values(ws, prompt_ids, loaded=False)
    values = [known[prompt_id] for prompt_id in prompt_ids]

    def learn(generator: Trajectory, folder: Path) -> TrainedPolicy:
        take_updates = trainer_named(config.algorithm)
        return take_updates(
            generator,
            values,
            reward,
            config,
            folder=folder,
            report=report,
            processes=processes,
            fits=_fits(ws),
        )

    if config.algorithm == "dpo":
        raise CurateError("dpo learns from comparisons, not from a reward. Use window or nft.")
    made_with = {**config.to_json(), "prompt_ids": prompt_ids}
    step = _Step(
        start.id,
        start.generator_name,
        made_with,
        reward_model_id,
        is_known=reward_model_id is not None,
        doubts=doubts_about(ws.session.get_one(RewardModelRow, reward_model_id))
        if reward_model_id
        else (),
    )
    return _taken(ws, step, learn, processes)


def rl_step_on_model(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompts: Sequence[PromptRow],
    reward_model: RewardModelRow,
    report: Report = lambda health: None,
    processes: Processes = ALONE,
) -> GeneratorVersion:
    """Like `rl_step`, the reward being what this reward model says."""
    model = RewardModel.load(verified_path(ws, reward_model.file_sha256)).to(processes.device)
    return rl_step(
        ws,
        config,
        start=start,
        prompts=prompts,
        reward=reward_of(model, processes.device),
        reward_model_id=reward_model.id,
        report=report,
        processes=processes,
    )


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

    def learn(generator: Trajectory, folder: Path) -> TrainedPolicy:
        source: Source = (
            rated_latents(ws, generator, said, config)
            if config.algorithm == "nft"
            else preferred_pairs(ws, generator, said)
        )
        ws.session.commit()
        return train_on(
            generator,
            source,
            config,
            folder=folder,
            report=report,
            processes=processes,
            fits=_fits(ws),
        )

    made_with = {**config.to_json(), **said.named()}
    step = _Step(start.id, start.generator_name, made_with, None, is_known=True)
    return _taken(ws, step, learn, processes)


@dataclass(frozen=True)
class _Step:
    """What makes this step the one it is; no row, which a lost database would empty."""

    start_id: str
    generator_name: str
    made_with: dict[str, Any]
    reward_model_id: str | None
    is_known: bool  # all that decides it is in the database: a version made so before is the same
    doubts: Sequence[str] = ()  # about the reward


def _taken(
    ws: Workspace,
    step: _Step,
    learn: Callable[[Trajectory, Path], TrainedPolicy],
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
    generator = require_trajectory(load_version(ws, step.start_id)).to(processes.device)
    folder = run_folder(ws, step.made_with, step.start_id, step.reward_model_id)
    ws.session.commit()  # no transaction stays open through the training
    trained = learn(generator, folder)
    made = ""
    if processes.is_first:
        made = _save_result(ws, trained, step).id
        shutil.rmtree(folder, ignore_errors=True)  # done: the version's row has the log
    version_id = processes.told(made)[0]
    return ws.session.get_one(GeneratorVersion, version_id)


def doubts_about(reward_model: RewardModelRow) -> list[str]:
    """Return why a step should not follow this reward model far, if there is a reason.

    A weak reward model is sooner fooled than followed: the reward rises, and the images get worse.
    """
    found = reward_model.metrics.get("held_out", {}).get("spearman")
    if found is None:
        return ["the ratings are too few to test the reward model on ratings it has not seen"]
    if found < TRUSTED_CORRELATION:
        return [
            f"the reward model ranks images that it has not seen only roughly as raters do: rank "
            f"correlation {found:.2f}, and {TRUSTED_CORRELATION} is needed to trust it"
        ]
    return []


def cost_of(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompt: PromptRow | None = None,
    reward_model: RewardModelRow | None = None,
    processes: Processes = ALONE,
) -> Cost:
    """Return what the step will cost, timed on the start version itself, for any of its prompts.

    Without a prompt and a reward model it learns from what people said of images: it makes none.
    """
    generator = require_trajectory(load_version(ws, start.id)).to(processes.device)
    policy = Policy(generator, config)
    conditions = generator.conditioner.unconditional(1)
    priced: OneReward | None = None
    if prompt is not None and reward_model is not None:
        value = prompt_value(ws, prompt.id)
        conditions = generator.conditioner([value])
        model = RewardModel.load(verified_path(ws, reward_model.file_sha256)).to(processes.device)
        asked = reward_of(model, processes.device)

        def priced(images: Tensor) -> tuple[Tensor, Tensor]:
            return asked(images, [value] * len(images))

    num_images = config.images_per_update // processes.count
    policy.fit = found_fit(policy, conditions, num_images, _fits(ws))
    found = estimate(
        policy,
        conditions,
        reward=priced,
        makes_images=prompt is not None,
    )
    return replace(found, seconds=found.seconds / processes.count)


def _fits(ws: Workspace) -> Path:
    return ws.cache / "rl" / "fits.json"


def prompts_to_practise(ws: Workspace, reward_model: RewardModelRow) -> list[PromptRow]:
    """Return the prompts whose images the reward model was fitted to: what it knows best.

    Raises CurateError when all of its images are real: their texts are no prompts.
    """
    prompts = queries.reward_models.prompts_of_reward_model(ws.session, reward_model.id)
    if not prompts:
        raise CurateError(
            f"Reward model {reward_model.id[:12]} was fitted to no generated image, so there is no "
            "prompt to practise on. Give --prompts FILE."
        )
    return prompts


def run_folder(
    ws: Workspace, made_with: Mapping[str, Any], start_id: str, reward_model_id: str | None
) -> Path:
    """Return where this very step keeps its checkpoint and its log, `updates.jsonl`."""
    key = json_hash([dict(made_with), start_id, reward_model_id])
    return ws.cache / "rl" / key


def reward_of(model: RewardModel, device: torch.device | str = "cpu") -> Reward:
    """Return a reward model as the function that RL asks, with gradients where it is asked so."""

    def reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        modalities = [prompt.modality for prompt in prompts]
        texts = [prompt.text for prompt in prompts]
        given = [conditioning_of(prompt) for prompt in prompts] if model.code_ else []
        shown = rgb_rendering(images).to(device)
        mean_B, spread_B = model.predict(shown, modalities, texts, given)
        return mean_B, spread_B

    return reward


def rgb_rendering(values: Tensor) -> Tensor:
    """Return pictures [B, C, H, W] as a reward model looks at them: RGB [B, 3, H, W]."""
    if values.dim() != 4:
        raise CurateError(
            f"This generator makes volumes {list(values.shape[1:])}, and the reward model looks at "
            "pictures. RL works on generators of pictures: `curate generators list`."
        )
    return values.expand(-1, 3, -1, -1)  # grey is repeated; three channels are taken as they are


def _save_result(ws: Workspace, trained: TrainedPolicy, step: _Step) -> GeneratorVersion:
    policy, history = trained.policy, trained.history
    with unfinished_folder(ws.cache / "unfinished", "weights-") as folder:
        policy.weights.save_result(folder)
        version = save_version(
            ws,
            folder,
            generator_name=step.generator_name,
            family=policy.generator.family,
            how_made="rl-step",
            parent_id=step.start_id,
            weights="lora" if policy.config.lora_rank else "full",
            config=step.made_with,
            metrics={
                "updates": [health.to_json() for health in history],
                "stopped": history[-1].stopped,
                "concerns": [*policy.config.concerns(), *step.doubts],
            },
            reward_model_id=step.reward_model_id,
        )
    details = {"version": version.id, "start": step.start_id, "updates": len(history)}
    queries.audit.record_event(ws.session, "rl-step", details)
    return version
