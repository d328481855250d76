"""What an RL step will cost, before it is paid: U-Net evaluations, FLOP, seconds on this machine.

An evaluation is one forward pass of one image; a backward pass counts as two. Guidance other than
1 doubles those that are guided.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from generators.base import Conditions
from generators.config import SamplingSettings
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import decode, initial_noise
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, rollout_settings, training_settings

OneReward = Callable[[Tensor], tuple[Tensor, Tensor]]  # of images of one and the same prompt


@dataclass(frozen=True)
class Cost:
    """The cost of a whole RL step, over all processes; the seconds are those of one process."""

    images: int
    rollout_evaluations: int
    training_evaluations: int  # forward and backward; forward only where no rollout kept it
    kl_evaluations: int  # the frozen start's predictions, and the old policy's
    flops: float  # of the denoiser, as torch counts its passes; a multiplication and an addition: 2
    seconds: float  # with decoding, and the reward where one was given

    @property
    def evaluations(self) -> int:
        """Return all of them."""
        return self.rollout_evaluations + self.training_evaluations + self.kl_evaluations


def estimate(
    policy: Policy,
    conditions: Conditions,
    *,
    reward: OneReward | None = None,
    makes_images: bool = True,
) -> Cost:
    """Count the evaluations, and time one batch of each kind; `conditions` are of any image.

    `policy.fit` says what the training pass need not predict again.
    """
    config = policy.config
    images = config.num_updates * config.images_per_update
    examples = images * config.examples_per_image
    kept = config.num_updates * policy.fit.kept_images * config.num_trained_steps
    rollouts, training, references = (
        config.num_updates * kind
        for kind in _kinds(config, policy.fit.kept_images, makes_images=makes_images)
    )
    forward = _Passes(policy, conditions, rollout_settings(config), config.rollout_batch)
    reference_settings = training_settings(config, config.training_guidance)
    reference = _Passes(policy, conditions, reference_settings, policy.fit.micro_batch)
    num_forward = (images * config.num_steps if makes_images else 0) - kept
    num_references = examples * _references(config)
    num_training = examples * config.inner_epochs
    seconds = (
        num_forward * forward.seconds()
        + num_references * reference.seconds()
        + num_training * reference.seconds(backward=True)
    )
    if makes_images:
        seconds += images * _seconds_of_image(policy, reward)
    if config.algorithm == "draft" and reward is not None:
        seconds += num_training * _seconds_of_gradient(policy, reward)
    return Cost(
        images=images,
        rollout_evaluations=rollouts,
        training_evaluations=training,
        kl_evaluations=references,
        flops=num_forward * forward.flops()
        + num_references * reference.flops()
        + num_training * reference.flops(backward=True),
        seconds=seconds,
    )


def evaluations_of_update(config: RLConfig) -> int:
    """Return how many evaluations one update takes where no rollout keeps its graphs."""
    return sum(_kinds(config))


def _kinds(
    config: RLConfig, kept_images: int = 0, *, makes_images: bool = True
) -> tuple[int, int, int]:
    """Return an update's evaluations in rollouts, in training, and for reference."""
    examples = config.images_per_update * config.examples_per_image
    rollout_halves = 1 if config.guidance == 1 else 2
    training_halves = 1 if config.training_guidance == 1 else 2
    rollouts = config.images_per_update * config.num_steps * rollout_halves
    kept = kept_images * config.num_trained_steps
    return (
        rollouts if makes_images else 0,
        (3 * examples * config.inner_epochs - kept) * training_halves,
        _references(config) * examples * training_halves,
    )


def _references(config: RLConfig) -> int:
    return config.asks_start + config.keeps_old_policy


@dataclass(frozen=True)
class _Passes:
    """Predictions for a batch of noise, with or without a backward pass to the weights."""

    policy: Policy
    conditions: Conditions
    settings: SamplingSettings
    size: int

    def seconds(self, *, backward: bool = False) -> float:
        """Return the seconds an image."""
        return fastest(lambda: self._run(self.size, backward), self.policy) / self.size

    def flops(self, *, backward: bool = False) -> float:
        """Return the FLOP an image."""
        with FlopCounterMode(display=False) as counter:
            self._run(1, backward)
        return float(counter.get_total_flops())

    def _run(self, size: int, backward: bool) -> None:
        generator = self.policy.generator
        x_t = initial_noise(range(size), generator.latent_shape).to(generator.device)
        t_B = torch.full((size,), generator.process.num_train_steps // 2)
        rows = self.conditions.select([0] * size).to(generator.device)
        with torch.set_grad_enabled(backward):
            prediction = predict(generator, x_t, t_B, rows, self.settings)
        if backward:
            prediction.sum().backward()
            self.policy.weights.optimizer.zero_grad(set_to_none=True)


def _seconds_of_image(policy: Policy, reward: OneReward | None) -> float:
    """Return the seconds of decoding an image, and of its reward."""
    size, generator = policy.config.rollout_batch, policy.generator
    latents = initial_noise(range(size), generator.latent_shape).to(generator.device)
    seconds = fastest(lambda: decode(generator, latents, size), policy)
    if reward is not None:
        images = generator.codec.to_values(decode(generator, latents, size))
        with torch.no_grad():
            seconds += fastest(lambda: reward(images), policy)
    return seconds / size


def _seconds_of_gradient(policy: Policy, reward: OneReward) -> float:
    """Return the seconds in which an image's reward becomes a gradient, through the decoder."""
    size, generator = policy.fit.micro_batch, policy.generator
    latents = initial_noise(range(size), generator.latent_shape).to(generator.device)
    latents.requires_grad_()

    def run() -> None:
        mean_B, _ = reward(generator.codec.to_values(generator.codec.decode(latents)))
        mean_B.sum().backward()

    return fastest(run, policy) / size


def fastest(run: Callable[[], object], policy: Policy) -> float:
    """Return the seconds of the better of two runs; the first warms up."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        if policy.generator.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
