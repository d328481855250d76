"""What an RL step will cost, before it is paid: U-Net evaluations, FLOP, seconds on this machine.

An evaluation is one forward pass of one image; a backward pass counts as two. Guidance other than
1 doubles those that are guided.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from generators.base import Conditions
from generators.config import SamplingSettings
from generators.diffusion.generator import decode
from generators.diffusion.guidance import predict
from generators.diffusion.samplers import initial_noise
from generators.rl.algorithms.policy_gradient import window_of_update
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
    shared = _shared(config, range(config.num_updates))
    checks = config.num_checks * config.check_images * config.num_steps
    if makes_images:
        rollouts += (checks - shared) * _halves(config.guidance)
    num_forward = (images * config.num_steps + checks - shared if makes_images else 0) - kept
    num_references = examples * (_references(config) + policy.knows_base)
    references += examples * policy.knows_base * _halves(config.training_guidance)
    num_training = examples * config.inner_epochs
    passes = [(num_forward, forward, False), (num_references, reference, False)]
    passes = [one for one in [*passes, (num_training, reference, True)] if one[0]]
    seconds = sum(num * kind.seconds(backward=backward) for num, kind, backward in passes)
    if makes_images:
        num_looks = images + config.num_checks * config.check_images
        seconds += num_looks * _seconds_of_image(policy, reward)
    if config.algorithm == "draft" and reward is not None:
        seconds += num_training * _seconds_of_gradient(policy, reward)
    return Cost(
        images=images,
        rollout_evaluations=rollouts,
        training_evaluations=training,
        kl_evaluations=references,
        flops=sum(num * kind.flops(backward=backward) for num, kind, backward in passes),
        seconds=seconds,
    )


def evaluations_of_update(config: RLConfig, update: int = 0) -> int:
    """Return how many evaluations an update takes where no rollout keeps its graphs."""
    shared = _shared(config, range(update, update + 1)) * _halves(config.guidance)
    return sum(_kinds(config)) - shared


def _shared(config: RLConfig, updates: range) -> int:
    """Return the evaluations saved, unguided: a root's steps before the window are taken once."""
    if config.branches == 1:
        return 0
    spared = config.images_per_update - config.images_per_update // config.branches
    return spared * sum(window_of_update(config, update).start for update in updates)


def _halves(guidance: float) -> int:
    return 1 if guidance == 1 else 2


def _kinds(
    config: RLConfig, kept_images: int = 0, *, makes_images: bool = True
) -> tuple[int, int, int]:
    """Return an update's evaluations in rollouts, in training, and for reference."""
    examples = config.images_per_update * config.examples_per_image
    training_halves = _halves(config.training_guidance)
    rollouts = config.images_per_update * config.num_steps * _halves(config.guidance)
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
        with Flops() as counted:
            self._run(1, backward)
        return float(counted.total)

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


class Flops(TorchDispatchMode):
    """Adds up torch's own formulas, a multiplication and an addition as 2.

    torch's `FlopCounterMode` also finds the module of each, which takes two to three times as long.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


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
