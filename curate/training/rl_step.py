"""What an RL step begins with: its settings, start, reward and prompts, and what it will cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from curate.errors import CurateError
from curate.production.images import prompt_value
from curate.production.versions import load_version
from curate.prompts.plan import sheet_rows
from curate.samples.renderings import shown_to_backbones
from curate.scoring.conditioning import conditioning_of
from curate.settings import Given
from curate.training.config import RLStepOptions
from curate.verified import verified_path
from curate.workspace import Workspace
from db import queries
from db.folders import replace_file
from db.models import GeneratorVersion
from db.models import Prompt as PromptRow
from db.models import RewardModel as RewardModelRow
from generators.base import Prompt, require_trajectory
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig, usual
from generators.rl.estimate import Cost, OneReward, estimate
from generators.rl.peers.ddpo_config import read_ddpo_config
from generators.rl.policy import Policy
from generators.rl.probe import Fits, found_fit
from generators.sample import Kind
from generators.training.processes import ALONE, Processes, joined_processes
from rewards.model import RewardModel

Say = Callable[[str], None]

TRUSTED_CORRELATION = 0.6  # Spearman, of held-out ratings
ADVICE = (
    "Take one small step (--kl-target 0.003), or only filter images by score, and let people rate "
    "before the next."
)


def rl_config(
    given: Given[RLConfig],
    ddpo_config: Path | None,
    say: Say,
    *,
    roots: int | None = None,
    like: GeneratorVersion | None = None,
) -> RLConfig:
    """Return the settings that were named, beside those of a DDPOConfig, a version, or the usual.

    A version's are those of the step that made it.
    """
    if roots is not None:
        if "group_size" in given.values:
            raise CurateError("--roots with --group-size: a group is roots x branches. Drop one.")
        branches = given.values.get("branches", usual().branches)
        given = Given({**given.values, "group_size": roots * branches, "branches": branches})
    if like is not None:
        if ddpo_config is not None:
            raise CurateError("--like with --from-ddpo-config: both give all settings. Drop one.")
        if like.how_made != "rl-step" or like.config is None:
            raise CurateError(f"--like {like.id[:12]}: no `curate rl-step` made that version.")
        names = {field.name for field in fields(RLConfig)}
        kept = {name: value for name, value in like.config.items() if name in names}
        return given.over(RLConfig.from_json(kept))
    if ddpo_config is None:
        return usual(**given.values)
    config, notes = read_ddpo_config(ddpo_config)
    for note in notes:
        say(f"DDPOConfig: {note}")
    return given.over(config)


def version_like(ws: Workspace, name: str | None) -> GeneratorVersion | None:
    """Return the version whose settings are meant, if one is."""
    return None if name is None else queries.versions.find_version(ws.session, name)


@dataclass(frozen=True)
class Materials:
    """What a step begins with; without a model and prompts it learns from what people said."""

    start: GeneratorVersion
    reward_model: RewardModelRow | None = None
    prompts: Sequence[PromptRow] = ()


def materials_of(
    ws: Workspace,
    config: RLConfig,
    options: RLStepOptions,
    say: Say,
    known_prompts: Sequence[PromptRow] = (),
) -> Materials:
    """Find what is named by "latest" or an id's start; `say` is told of doubts about it.

    Without a prompt sheet it practises on `known_prompts`; without these, on the prompts whose
    images the reward model was fitted to.
    """
    start = queries.versions.find_version(ws.session, options.version)
    if options.from_ratings or config.algorithm == "dpo":
        return Materials(start)
    model = queries.reward_models.find_reward_model(ws.session, options.reward_model)
    prompts = (
        sheet_rows(ws, options.sheet, say)
        if options.sheet
        else known_prompts or _prompts_to_practise(ws, model)
    )
    for doubt in doubts_about(model):
        say(f"Note: {doubt}. {ADVICE}")
    return Materials(start, model, prompts)


def _prompts_to_practise(ws: Workspace, reward_model: RewardModelRow) -> list[PromptRow]:
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


def price_of_rl_step(ws: Workspace, config: RLConfig, options: RLStepOptions, *, say: Say) -> Cost:
    """Return what a step would cost, without taking it."""
    return cost_of(ws, config, materials_of(ws, config, options, say), joined_processes())


def cost_of(
    ws: Workspace, config: RLConfig, materials: Materials, processes: Processes = ALONE
) -> Cost:
    """Return what the step will cost, timed on the start version itself, for any of its prompts.

    Without a prompt and a reward model it learns from what people said of images: it makes none.
    """
    start, device = materials.start, processes.device
    generator = require_trajectory(load_version(ws, start.id)).to(device)
    policy = Policy(generator, config, base_network(ws, start, config, device))
    conditions = generator.conditioner.unconditional(1)
    priced: OneReward | None = None
    if materials.prompts and materials.reward_model is not None:
        value = prompt_value(ws, materials.prompts[0].id)
        conditions = generator.conditioner([value])
        asked = reward_by(ws, materials.reward_model, device, generator.output.kind)

        def priced(images: Tensor) -> tuple[Tensor, Tensor]:
            return asked(images, [value] * len(images))

    num_images = config.images_per_update // processes.count
    policy.fit = found_fit(policy, conditions, num_images, fits_of(ws))
    found = estimate(policy, conditions, reward=priced, makes_images=bool(materials.prompts))
    return replace(found, seconds=found.seconds / processes.count)


def in_words(cost: Cost) -> str:
    """Return the price in one line."""
    return (
        f"{cost.images} images, {cost.evaluations} U-Net evaluations (rollouts "
        f"{cost.rollout_evaluations}, training {cost.training_evaluations}, anchor "
        f"{cost.kl_evaluations}), {cost.flops / 1e12:.3g} TFLOP, about {cost.seconds / 60:.1f} "
        "minutes with the rewards"
    )


def base_network(
    ws: Workspace, start: GeneratorVersion, config: RLConfig, device: torch.device
) -> nn.Module | None:
    """Return the network of the last version before all RL steps; None where that is the start."""
    base = start
    while base.how_made == "rl-step" and base.parent_id is not None:
        base = ws.session.get_one(GeneratorVersion, base.parent_id)
    if config.base_target is None or base.id == start.id:
        return None
    generator = require_trajectory(load_version(ws, base.id)).to(device)
    network: nn.Module = generator.denoiser.network
    return network.requires_grad_(False)


def fits_of(ws: Workspace) -> Fits:
    """Return what remembers how much of an update fits into memory."""
    path = ws.cache / "rl" / "fits.json"
    for left in path.parent.glob("fits.*.tmp"):  # by earlier versions, killed
        left.unlink(missing_ok=True)
    return Fits(path, replace_file)


def reward_by(
    ws: Workspace, row: RewardModelRow, device: torch.device | str = "cpu", kind: Kind = "intensity"
) -> Reward:
    """Return what a workspace's reward model says as the function that RL asks."""
    return reward_of(RewardModel.load(verified_path(ws, row.file_sha256)).to(device), device, kind)


def reward_of(
    model: RewardModel, device: torch.device | str = "cpu", kind: Kind = "intensity"
) -> Reward:
    """Return a reward model as the function that RL asks, with gradients where it is asked so.

    `kind` is what the numbers of the generator's images mean.
    """

    def reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        modalities = [prompt.modality for prompt in prompts]
        texts = [prompt.text for prompt in prompts]
        given = [conditioning_of(prompt) for prompt in prompts] if model.code_ else []
        shown = shown_to_backbones(images, kind).to(device)
        mean_B, spread_B = model.predict(shown, modalities, texts, given)
        return mean_B, spread_B

    return reward
