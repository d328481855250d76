"""The updates of one RL step, one after the other: images, rewards, advantages, gradient, step.

Knows no workspace: any function (images, prompts) -> (mean, spread) is a reward.
Shapes: B images of this process, G siblings of a prompt; A images of all processes.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from generators.base import Conditions, Generator, Prompt, require_trajectory
from generators.diffusion.generator import decode, sample
from generators.errors import GeneratorError
from generators.memory import lacks_memory
from generators.rl.advantages import PromptBuffers, advantages_within
from generators.rl.algorithms.base import MadeImages, Reward, UpdateBatch
from generators.rl.algorithms.registry import algorithm_named
from generators.rl.budget import Drift, allowed_distance
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, rollout_settings
from generators.rl.probe import Fits, found_fit
from generators.rl.progress import Progress, UpdateHealth, load_progress, save_progress
from generators.rl.source import (
    Source,
    UpdateLesson,
    UpdateRewards,
    prompts_of_update,
    rollout_seed,
)
from generators.rl.update import Gradient, Learned, learn, steered_weight
from generators.seeds import hashed_seed
from generators.training.processes import ALONE, Processes

RATIO_TOLERANCE = 1e-4  # of 1, between training pass and rollout at equal precision
SMALLEST = 1e-12  # a distance: below it is none
Report = Callable[[UpdateHealth], None]


@dataclass(frozen=True)
class TrainedPolicy:
    """A finished run: the weights, and every update's health."""

    policy: Policy
    history: tuple[UpdateHealth, ...]


@dataclass(frozen=True)
class Conduct:
    """How a training goes about its updates, whatever they learn from."""

    folder: Path  # of its checkpoint
    report: Report  # is told of each new update once its checkpoint is written
    processes: Processes = ALONE
    fits: Fits | None = None  # remembers what fits into memory
    base: nn.Module | None = None  # the network before all RL steps, where that is not the start


def train(
    generator: Generator, source: Source, config: RLConfig, conduct: Conduct
) -> TrainedPolicy:
    """Run the updates that the folder's checkpoint has not; return what all of them made.

    The result is the best of the versions that were checked on the way, where some were. Only the
    first process writes and reports. Raises GeneratorError for a generator without denoising steps,
    and for rewards that teach nothing.
    """
    processes, folder = conduct.processes, conduct.folder
    policy = Policy(require_trajectory(generator), config, conduct.base)
    progress = load_progress(folder, policy)
    if not progress.history:
        num_images = len(processes.in_blocks(config.images_per_update))
        one = generator.condition(source.prompts[:1])
        policy.fit = found_fit(policy, one, num_images, conduct.fits)
    policy.compile()  # not earlier: to find the fit tries many shapes
    while not progress.is_finished(config):
        progress = one_update(policy, source, progress, processes)
        progress = checked(policy, source, progress, processes)
        processes.refuse_differences(policy.weights.named)
        if processes.is_first:
            save_progress(folder, policy, progress)
            conduct.report(progress.history[-1])
    if progress.best_check is not None:
        policy.take_best()
    return TrainedPolicy(policy, progress.history)


def checked(
    policy: Policy, source: Source, progress: Progress, processes: Processes = ALONE
) -> Progress:
    """Every so many updates and at the end, ask the reward what the result would be worth.

    All checks see the same prompts and noise. The best one is kept in the policy.
    """
    config, num_done = policy.config, len(progress.history)
    due = config.check_every and num_done % config.check_every == 0
    if not config.check_every or not (due or progress.is_finished(config)):
        return progress
    found = source.check(policy)
    if found is None:
        return progress
    worth = processes.told(found)[0]  # one verdict for all
    if progress.best_check is None or worth > progress.best_check:
        policy.note_best()
    last = replace(progress.history[-1], checked=worth)
    return replace(progress, history=(*progress.history[:-1], last))


def one_update(
    policy: Policy, source: Source, progress: Progress, processes: Processes = ALONE
) -> Progress:
    """Take the next update: rollouts or given images, advantages, gradient, step."""
    config, update = policy.config, len(progress.history)
    started = time.monotonic()
    lesson = source.lesson(policy, update, progress.buffers, processes)
    rolled_out = time.monotonic()
    examples = lesson.made.examples(policy, lesson.advantages_B)
    kl_weight = progress.kl_weight
    learned = learn(policy, examples, kl_weight=kl_weight, update=update, processes=processes)
    drift = _held(policy, progress.drift, learned)
    policy.trail(update)
    if update == 0:
        _refuse_disagreement(learned.gradient, config)
    health = UpdateHealth(
        update=update,
        window_start=lesson.made.window_start,
        reward_mean=lesson.figures.mean,
        reward_sd=lesson.figures.sd,
        spread_mean=lesson.figures.spread_mean,
        zero_spread_groups=lesson.figures.zero_spread_groups,
        loss=learned.gradient.loss,
        clipped_fraction=learned.clipped_fraction,
        ratio_deviation=learned.gradient.ratio_deviation,
        kl=learned.gradient.kl,
        squared_change=learned.gradient.squared_change,
        kl_weight=kl_weight,
        gradient_norm=learned.gradient_norm,
        stopped=learned.stopped,
        rollout_seconds=rolled_out - started,
        training_seconds=time.monotonic() - rolled_out,
        micro_batch=policy.fit.micro_batch,
        kept_images=policy.fit.kept_images,
        base_change=learned.gradient.base_change,
        kept_share=drift.share,
    )
    next_weight = steered_weight(
        kl_weight, health.squared_change, target=config.kl_target, first=config.kl_weight
    )
    return Progress((*progress.history, health), next_weight, lesson.buffers, drift)


def _held(policy: Policy, drift: Drift, learned: Learned) -> Drift:
    """Scale the way from the start to its budget, where the settings hold it there."""
    config, found = policy.config, learned.gradient
    if not config.holds_budget:
        return drift
    distance = math.sqrt(found.squared_change)
    budget = allowed_distance(
        found.squared_change,
        found.base_change,
        found.start_change,
        target=config.kl_target,
        base=math.inf if config.base_target is None else config.base_target,
    )
    drift = drift.after(distance, budget)
    if learned.stopped:  # no step was taken: what is there is what was measured
        drift = replace(drift, share=min(1.0, budget / max(distance, budget, SMALLEST)))
    policy.keep_share(drift.share)
    return drift


def _refuse_disagreement(gradient: Gradient, config: RLConfig) -> None:
    """Raise when the first update's two passes over the same weights do not agree."""
    same_precision = config.rollout_dtype == config.training_dtype == "float32"
    if same_precision and gradient.ratio_deviation > RATIO_TOLERANCE:
        raise GeneratorError(
            f"Rollout and training disagree about the probability of the same steps by "
            f"{gradient.ratio_deviation:.1e}; at most {RATIO_TOLERANCE:.0e} is arithmetic. On a "
            "GPU switch TF32 off; otherwise please report this generator."
        )


@dataclass(frozen=True)
class Rewarded:
    """The images of one update, made and scored."""

    made: MadeImages
    mean_B: Tensor  # rewards, float32 on the CPU
    spread_B: Tensor

    def penalised(self, spread_penalty: float) -> Tensor:
        """Return what the policy is trained on: doubt counts against an image."""
        return self.mean_B - spread_penalty * self.spread_B


@dataclass(frozen=True)
class Rollouts:
    """New images for every update, groups of siblings of the prompts in turn: the usual source."""

    prompts: Sequence[Prompt]
    reward: Reward

    def __post_init__(self) -> None:
        """Refuse to practise on nothing."""
        if not self.prompts:
            raise GeneratorError(
                "No prompt to practise on. Give --prompts FILE or generate images first."
            )

    def lesson(
        self, policy: Policy, update: int, buffers: PromptBuffers, processes: Processes
    ) -> UpdateLesson:
        """Make and score this process's groups; their advantages are taken among all."""
        config = policy.config
        rewarded = rewarded_images(policy, self.prompts, self.reward, update, processes)
        spread_A = processes.gathered(rewarded.spread_B)
        mean_A = processes.gathered(rewarded.mean_B)
        rewards_A = mean_A - config.spread_penalty * spread_A
        chosen = prompts_of_update(len(self.prompts), config, update)
        prompts_A = [prompt for prompt in chosen for _ in range(config.group_size)]
        if config.baseline_buffer and bool(torch.isfinite(rewards_A).all()):
            buffers = buffers.with_rewards(prompts_A, rewards_A)
        advantages = advantages_within(
            rewards_A,
            torch.arange(len(rewards_A)) // config.num_siblings,
            clip=config.advantage_clip,
            baselines_B=buffers.baselines(prompts_A) if config.baseline_buffer else None,
        )
        figures = UpdateRewards(
            mean=mean_A.mean().item(),
            sd=rewards_A.std().item(),
            spread_mean=spread_A.mean().item(),
            zero_spread_groups=advantages.num_zero_spread_groups,
        )
        mine = processes.in_blocks(len(rewards_A))
        return UpdateLesson(
            rewarded.made, advantages.values_B[mine.start : mine.stop], figures, buffers
        )

    def check(self, policy: Policy) -> float:
        """Return the mean reward, doubt counted against it, of images at seeds of the check's own.

        They are made by the sampler that images will be made with, without random steps.
        """
        config, generator = policy.config, policy.generator
        asked = [self.prompts[index % len(self.prompts)] for index in range(config.check_images)]
        seeds = [hashed_seed(f"rl check {config.seed} {index}") for index in range(len(asked))]
        settings = rollout_settings(config, config.sampler if config.algorithm == "nft" else "ddim")
        with policy.weights.at(policy.weights.averages), torch.no_grad():
            latents = sample(generator, generator.condition(asked), seeds, settings)
            images = generator.codec.to_values(decode(generator, latents, config.rollout_batch))
            mean_B, spread_B = self.reward(images, asked)
        return (mean_B - config.spread_penalty * spread_B).mean().item()


def _conditions_of(generator: Generator, prompts: Sequence[Prompt]) -> Conditions:
    """Return one row a prompt, however large their images are where the family can bear it."""
    try:
        return generator.condition(prompts)
    except (RuntimeError, ValueError) as error:  # rows of several shapes
        sizes = {f"{role} {i.spatial_shape}" for one in prompts for role, i in one.images.items()}
        if lacks_memory(error) or len(sizes) == len({name.split()[0] for name in sizes}):
            raise
        raise GeneratorError(
            f"An update makes its images together, and its prompts' condition images have several "
            f"sizes: {', '.join(sorted(sizes))}. Give --prompts with images of one size."
        ) from error


def rewarded_images(
    policy: Policy,
    prompts: Sequence[Prompt],
    reward: Reward,
    update: int,
    processes: Processes,
) -> Rewarded:
    """Make this process's images of one update and score them."""
    config, generator = policy.config, policy.generator
    chosen = prompts_of_update(len(prompts), config, update)
    groups = processes.in_blocks(len(chosen))
    of_groups = [prompts[chosen[group]] for group in groups]
    rows_B = torch.arange(len(groups)).repeat_interleave(config.group_size)
    first = groups.start * config.group_size
    batch = UpdateBatch(
        prompts_B=[of_groups[row] for row in rows_B],
        conditions_B=_conditions_of(generator, of_groups).select(rows_B),
        seeds_B=[rollout_seed(config, update, first + index) for index in range(len(rows_B))],
        update=update,
        reward=reward,
    )
    made = algorithm_named(config.algorithm)(policy, batch)
    images = generator.codec.to_values(decode(generator, made.latents, config.rollout_batch))
    with torch.no_grad():
        mean_B, spread_B = reward(images, batch.prompts_B)
    if mean_B.shape != (len(rows_B),) or spread_B.shape != (len(rows_B),):
        raise GeneratorError(
            f"The reward gave means of shape {tuple(mean_B.shape)} and spreads of shape "
            f"{tuple(spread_B.shape)} for {len(rows_B)} images; it must give one number each."
        )
    return Rewarded(made, mean_B.float().cpu(), spread_B.float().cpu())
