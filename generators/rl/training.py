"""The updates of one RL step, one after the other: images, rewards, advantages, gradient, step.

Knows no workspace: any function (images, prompts) -> (mean, spread) is a reward.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generators.base import Generator, Prompt, require_trajectory
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.probe import found_fit
from generators.rl.progress import Progress, UpdateHealth, load_progress, save_progress
from generators.rl.rollouts import Rollouts
from generators.rl.source import Source
from generators.rl.update import Gradient, learn, steered_weight
from generators.training.processes import ALONE, Processes

RATIO_TOLERANCE = 1e-4  # of 1, between training pass and rollout at equal precision
Report = Callable[[UpdateHealth], None]


@dataclass(frozen=True)
class TrainedPolicy:
    """A finished run: the weights, and every update's health."""

    policy: Policy
    history: tuple[UpdateHealth, ...]


def train(
    generator: Generator,
    prompts: Sequence[Prompt],
    reward: Reward,
    config: RLConfig,
    *,
    folder: Path,
    report: Report,
    processes: Processes = ALONE,
    fits: Path | None = None,
) -> TrainedPolicy:
    """Run the updates that `folder`'s checkpoint has not; return what all of them made.

    `report` is told of each new update once its checkpoint is written; `fits` is a file that
    remembers how much of such an update fits into memory (`generators.rl.probe`). Raises
    GeneratorError for a generator without denoising steps, and for rewards that teach nothing.
    """
    if not prompts:
        raise GeneratorError(
            "No prompt to practise on. Give --prompts FILE or generate images first."
        )
    source = Rollouts(prompts, reward)
    return train_on(
        generator, source, config, folder=folder, report=report, processes=processes, fits=fits
    )


def train_on(
    generator: Generator,
    source: Source,
    config: RLConfig,
    *,
    folder: Path,
    report: Report,
    processes: Processes = ALONE,
    fits: Path | None = None,
) -> TrainedPolicy:
    """Like `train`, from any source of lessons. Only the first process writes and reports."""
    policy = Policy(require_trajectory(generator), config)
    progress = load_progress(folder, policy)
    if not progress.history:
        num_images = len(processes.in_blocks(config.images_per_update))
        one = generator.condition(source.prompts[:1])
        policy.fit = found_fit(policy, one, num_images, fits)
    policy.compile()  # not earlier: to find the fit tries many shapes
    while not progress.is_finished(config):
        progress = one_update(policy, source, progress, processes)
        processes.refuse_differences(policy.weights.named)
        if processes.is_first:
            save_progress(folder, policy, progress)
            report(progress.history[-1])
    return TrainedPolicy(policy, progress.history)


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
    )
    next_weight = steered_weight(
        kl_weight, health.squared_change, target=config.kl_target, first=config.kl_weight
    )
    return Progress((*progress.history, health), next_weight, lesson.buffers)


def _refuse_disagreement(gradient: Gradient, config: RLConfig) -> None:
    """Raise when the first update's two passes over the same weights do not agree."""
    same_precision = config.rollout_dtype == config.training_dtype == "float32"
    if same_precision and gradient.ratio_deviation > RATIO_TOLERANCE:
        raise GeneratorError(
            f"Rollout and training disagree about the probability of the same steps by "
            f"{gradient.ratio_deviation:.1e}; at most {RATIO_TOLERANCE:.0e} is arithmetic. On a "
            "GPU switch TF32 off; otherwise please report this generator."
        )
