"""What an RL step will cost, before it is paid: U-Net evaluations, and seconds on this machine.

An evaluation is one forward pass of one image; a backward pass counts as two. Guidance other than
1 doubles those that are guided.
"""

import time
from dataclasses import dataclass

import torch

from curate.rl.config import RLConfig
from curate.rl.predictions import rollout_settings, training_settings
from generators.base import Conditions, Generator
from generators.sampling import initial_noise, predict


@dataclass(frozen=True)
class Estimate:
    """The cost of a whole RL step. Decoding and reward are not in it."""

    images: int
    rollout_evaluations: int
    training_evaluations: int  # forward and backward
    kl_evaluations: int  # the frozen start's predictions, and the old policy's
    seconds: float

    @property
    def evaluations(self) -> int:
        """Return all of them."""
        return self.rollout_evaluations + self.training_evaluations + self.kl_evaluations


def estimate(config: RLConfig, generator: Generator, conditions: Conditions) -> Estimate:
    """Count the evaluations, and time one batch of each kind; `conditions` are of any image."""
    images = config.num_updates * config.images_per_update
    examples = images * config.examples_per_image
    rollouts, training, references = (config.num_updates * kind for kind in _kinds(config))
    seconds_rollout = _seconds_of_one(config, generator, conditions, training=False)
    seconds_training = _seconds_of_one(config, generator, conditions, training=True)
    passes = config.inner_epochs + (config.asks_start + config.keeps_old_policy) / 3
    return Estimate(
        images=images,
        rollout_evaluations=rollouts,
        training_evaluations=training,
        kl_evaluations=references,
        seconds=images * config.num_steps * seconds_rollout + examples * passes * seconds_training,
    )


def evaluations_of_update(config: RLConfig) -> int:
    """Return how many evaluations one update takes."""
    return sum(_kinds(config))


def _kinds(config: RLConfig) -> tuple[int, int, int]:
    """Return an update's evaluations in rollouts, in training, and for reference."""
    examples = config.images_per_update * config.examples_per_image
    rollout_halves = 1 if config.guidance == 1 else 2
    training_halves = 1 if config.training_guidance == 1 else 2
    references = config.asks_start + config.keeps_old_policy
    return (
        config.images_per_update * config.num_steps * rollout_halves,
        3 * examples * config.inner_epochs * training_halves,
        references * examples * training_halves,
    )


def _seconds_of_one(
    config: RLConfig, generator: Generator, conditions: Conditions, *, training: bool
) -> float:
    """Return the seconds an image of one batch: the better of two, the first warms up.

    Training is timed with the gradient going to the latents: about the adapters' price.
    """
    size = config.micro_batch if training else config.rollout_batch
    settings = (
        training_settings(config, config.training_guidance)
        if training
        else rollout_settings(config)
    )
    x_t = initial_noise(range(size), generator.latent_shape).to(generator.device)
    t_B = torch.full((size,), generator.schedule.num_train_steps // 2)
    rows = conditions.select([0] * size).to(generator.device)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        with torch.set_grad_enabled(training):
            prediction = predict(generator, x_t.requires_grad_(training), t_B, rows, settings)
        if training:
            torch.autograd.grad(prediction.sum(), x_t)
        if x_t.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / size
