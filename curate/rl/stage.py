"""One RL step in a workspace: a start version, a reward and prompts in, a new version out."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.generate import prompt_value
from curate.generators_store import load_version, save_version
from curate.rl.config import RLConfig
from curate.rl.estimate import Estimate, estimate
from curate.rl.policy import require_denoiser
from curate.rl.rollouts import Reward
from curate.rl.training import Report, Trained, train
from curate.workspace import Workspace
from db import queries, queries_rl
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from generators.base import Prompt
from rewards.model import RewardModel


def rl_step(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompts: Sequence[PromptRow],
    reward: Reward,
    reward_model_id: str | None = None,
    report: Report = lambda health: None,
) -> GeneratorVersion:
    """Train the start version on a reward; return the new version, a child of the start.

    Stopped anywhere, even by SIGKILL, the same call goes on after the last whole update and ends
    with the same weights. Done before with the same reward model, it returns what it made then.
    A reward without a model row (`reward_model_id` None) must be the same function when resumed.
    """
    prompt_ids = [prompt.id for prompt in prompts]
    made_with = {**config.to_json(), "prompt_ids": prompt_ids}
    if reward_model_id is not None:
        known = queries_rl.find_rl_version(
            ws.session, parent_id=start.id, reward_model_id=reward_model_id, config=made_with
        )
        if known is not None:
            return known
    generator = load_version(ws, start.id)
    values = [prompt_value(ws, prompt_id) for prompt_id in prompt_ids]
    folder = run_folder(ws, config, start.id, prompt_ids, reward_model_id)
    ws.session.commit()  # no transaction stays open through the training
    trained = train(generator, values, reward, config, folder=folder, report=report)
    version = _save_result(ws, trained, start, made_with, reward_model_id)
    shutil.rmtree(folder)  # done: the version's row has the log
    return version


def rl_step_on_model(
    ws: Workspace,
    config: RLConfig,
    *,
    start: GeneratorVersion,
    prompts: Sequence[PromptRow],
    reward_model: RewardModelRow,
    report: Report = lambda health: None,
) -> GeneratorVersion:
    """Like `rl_step`, the reward being what this reward model says."""
    return rl_step(
        ws,
        config,
        start=start,
        prompts=prompts,
        reward=reward_of(RewardModel.load(ws.store.local_path(reward_model.file_sha256))),
        reward_model_id=reward_model.id,
        report=report,
    )


def cost_of(
    ws: Workspace, config: RLConfig, *, start: GeneratorVersion, prompts: Sequence[PromptRow]
) -> Estimate:
    """Return what the step will cost, timed on the start version itself."""
    generator = require_denoiser(load_version(ws, start.id))
    conditions = generator.conditioner([prompt_value(ws, prompt.id) for prompt in prompts[:1]])
    return estimate(config, generator, conditions)


def prompts_to_practise(ws: Workspace, reward_model: RewardModelRow) -> list[PromptRow]:
    """Return the prompts whose images the reward model was fitted to: what it knows best.

    Raises CurateError when all of its images are real: their texts are no prompts.
    """
    prompts = queries_rl.prompts_of_reward_model(ws.session, reward_model.id)
    if not prompts:
        raise CurateError(
            f"Reward model {reward_model.id[:12]} was fitted to no generated image, so there is no "
            "prompt to practise on. Give --prompts FILE."
        )
    return prompts


def run_folder(
    ws: Workspace,
    config: RLConfig,
    start_id: str,
    prompt_ids: Sequence[str],
    reward_model_id: str | None,
) -> Path:
    """Return where this very step keeps its checkpoint and its log, `updates.jsonl`."""
    key = queries.json_hash([config.to_json(), start_id, list(prompt_ids), reward_model_id])
    return ws.cache / "rl" / key


def reward_of(model: RewardModel, device: torch.device | str = "cpu") -> Reward:
    """Return a reward model as the function that RL asks; grey images are shown to it as RGB."""

    @torch.no_grad()
    def reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        images_B3HW = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        modalities = [prompt.modality for prompt in prompts]
        texts = [prompt.text for prompt in prompts]
        mean_B, spread_B = model.predict(images_B3HW.to(device), modalities, texts)
        return mean_B, spread_B

    return reward


def _save_result(
    ws: Workspace,
    trained: Trained,
    start: GeneratorVersion,
    made_with: dict[str, object],
    reward_model_id: str | None,
) -> GeneratorVersion:
    policy, history = trained.policy, trained.history
    with tempfile.TemporaryDirectory(dir=ws.cache) as temporary:
        policy.save_result(Path(temporary))
        version = save_version(
            ws,
            Path(temporary),
            generator_name=start.generator_name,
            family=policy.generator.family,
            how_made="rl-step",
            parent_id=start.id,
            weights="lora" if policy.config.lora_rank else "full",
            config=made_with,
            metrics={
                "updates": [health.to_json() for health in history],
                "stopped": history[-1].stopped,
                "concerns": policy.config.concerns(),
            },
            reward_model_id=reward_model_id,
        )
    details = {"version": version.id, "start": start.id, "updates": len(history)}
    queries.record_event(ws.session, "rl-step", details)
    return version
