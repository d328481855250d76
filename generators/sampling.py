"""From noise to latents, one step at a time; each stochastic step with its log-probability.

Written once for every family. Tensor names carry shapes: B images, K stochastic steps; a name
without a suffix has the shape of a batch of latents. Timestep -1 is where the image is.

Noise is drawn on the CPU, per image, from (seed, step), and compute batches have one fixed shape,
so an image does not depend on its neighbours, their order or the number of workers.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.process import VariancePreserving
from generators.seeds import hashed_seed

SOLVERS = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


@dataclass(frozen=True)
class Rollout:
    """Sampled latents, with the steps that were random and how probable each was.

    Log-probabilities are *means* over latent elements (see `log_prob`). K is the number of random
    steps: the window's, without the chain's last step.
    """

    latents: Tensor  # [B, ...]
    x_t: Tensor  # [B, K, ...] before each random step
    x_next: Tensor  # [B, K, ...] after it
    timesteps_K: Tensor  # int64
    next_timesteps_K: Tensor  # int64
    log_probs_BK: Tensor
    kept: list["KeptPrediction"] = field(default_factory=list)  # whoever takes them empties it


@dataclass(frozen=True)
class KeptPrediction:
    """What was predicted for one random step of neighbouring images, with its autograd graph."""

    images: range  # of the rollout
    step: int  # in 0 .. K - 1
    prediction: Tensor


def initial_noise(seeds: Sequence[int], latent_shape: Sequence[int]) -> Tensor:
    """Return float32 standard normal noise [B, *latent_shape] on the CPU, a row from its seed."""
    return torch.stack([_noise(f"{int(seed)} start", latent_shape) for seed in seeds])


def step_noise(seeds: Sequence[int], step: int, latent_shape: Sequence[int]) -> Tensor:
    """Return the noise of sampling step `step` (0 is the first), a row from (seed, step)."""
    return torch.stack([_noise(f"{int(seed)} step {step}", latent_shape) for seed in seeds])


def _noise(name: str, latent_shape: Sequence[int]) -> Tensor:
    # hashed: neighbouring seeds give unrelated states, and (1, 12) is not (11, 2)
    generator = torch.Generator().manual_seed(hashed_seed(f"noise {name}"))
    return torch.randn(*latent_shape, generator=generator)


def predict(
    generator: Trajectory,
    x_t: Tensor,
    t_B: Tensor,
    conditions: Conditions,
    settings: SamplingSettings,
) -> Tensor:
    """Return the denoiser's prediction, guided where `settings.guidance` is not 1.

    Guidance evaluates both halves in one pass. Autocast holds inside the denoiser only.
    """
    num_images, t_B = len(x_t), t_B.to(x_t.device)
    guided = settings.guidance != 1
    if guided:
        unconditional = generator.conditioner.unconditional(num_images)
        unconditional = unconditional.to(x_t.device, x_t.dtype)
        conditions = Conditions.join([unconditional, conditions])
        x_t, t_B = torch.cat([x_t, x_t]), torch.cat([t_B, t_B])
    bfloat16 = settings.dtype == "bfloat16"
    with torch.autocast(x_t.device.type, torch.bfloat16, enabled=bfloat16):
        prediction: Tensor = generator.denoiser(x_t, t_B, conditions)
    prediction = prediction.to(x_t.dtype)
    if not guided:
        return prediction
    without, with_conditions = prediction.split(num_images)
    steered: Tensor = without + settings.guidance * (with_conditions - without)
    return steered


def noised(
    schedule: VariancePreserving, latents: Tensor, noise: Tensor, t_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return x_t of clean latents, and what a perfect denoiser predicts there: noise, or v."""
    kept_B = schedule.alphas_cumprod(t_B)
    a, s = _per_image(kept_B.sqrt(), latents), _per_image((1 - kept_B).sqrt(), latents)
    target = noise if schedule.prediction_type == "epsilon" else a * noise - s * latents
    return a * latents + s * noise, target


def stochastic_step(
    schedule: VariancePreserving,
    prediction: Tensor,
    x_t: Tensor,
    t_B: Tensor,
    t_next_B: Tensor,
    eta: float,
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of DDIM's next latents; eta 0 has a deviation of 0.

    Song et al. 2021, equations 12 and 16. The deviation is broadcastable: [B, 1, ...].
    """

    def per_image(values_B: Tensor) -> Tensor:
        return _per_image(values_B, x_t)

    kept_B = schedule.alphas_cumprod(t_B)  # float64: share of the image's variance in x_t
    next_kept_B = schedule.alphas_cumprod(t_next_B)
    variance_B = (1 - next_kept_B) / (1 - kept_B) * (1 - kept_B / next_kept_B)
    std_B = eta * variance_B.clamp(min=0).sqrt()
    direction_B = (1 - next_kept_B - std_B.square()).clamp(min=0).sqrt()
    a, s = per_image(kept_B.sqrt()), per_image((1 - kept_B).sqrt())
    if schedule.prediction_type == "epsilon":
        image, noise = (x_t - s * prediction) / a, prediction
    else:  # v = a noise - s image (Salimans and Ho 2022)
        image, noise = a * x_t - s * prediction, s * x_t + a * prediction
    if schedule.clip_range is not None:
        image = image.clamp(-schedule.clip_range, schedule.clip_range)
    mean = per_image(next_kept_B.sqrt()) * image + per_image(direction_B) * noise
    return mean, per_image(std_B)


def predicted_image(
    schedule: VariancePreserving, prediction: Tensor, x_t: Tensor, t_B: Tensor
) -> Tensor:
    """Return the clean latents that a prediction amounts to; unclamped."""
    kept_B = schedule.alphas_cumprod(t_B)
    a, s = _per_image(kept_B.sqrt(), x_t), _per_image((1 - kept_B).sqrt(), x_t)
    if schedule.prediction_type == "epsilon":
        return (x_t - s * prediction) / a
    return a * x_t - s * prediction


def _per_image(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.to(like.device, like.dtype).view(-1, *[1] * (like.dim() - 1))


def log_prob(x_next: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the normal log-density, *averaged* over latent elements, constants kept: [B].

    The mean, not the sum, keeps the scale independent of the latents' size: clip ranges of its
    ratio are near 1e-4. A noiseless step (std 0) has no density and is refused.
    """
    if not bool((std > 0).all()):
        raise ValueError("a step without noise (std 0) has no log-probability")
    densities: Tensor = torch.distributions.Normal(mean, std).log_prob(x_next)
    return densities.flatten(1).mean(dim=1)


def step_log_prob(
    generator: Trajectory,
    conditions: Conditions,
    x_t: Tensor,
    x_next: Tensor,
    t_B: Tensor,
    t_next_B: Tensor,
    settings: SamplingSettings,
    *,
    eta: float = 1.0,
) -> Tensor:
    """Return log-probabilities [B] of recorded steps under the denoiser as it is now.

    Differentiable. Any (image, step) pairs may share a batch: each has its own timesteps.
    """
    prediction = predict(generator, x_t, t_B, conditions, settings)
    mean, std = stochastic_step(generator.process, prediction, x_t, t_B, t_next_B, eta)
    return log_prob(x_next, mean, std)


@torch.no_grad()
def sample(
    generator: Trajectory,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
    *,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Return float32 latents [B, ...], one for each condition and seed.

    `on_step` is told after each step how many are done, of num_steps x compute batches.
    """
    latents = []
    steps_done = itertools.count(1)
    for batch in _batches(generator, conditions, seeds, settings.batch_size):
        sampler = _sampler(generator.process, settings)
        x_t = initial_noise(batch.seeds, generator.latent_shape).to(generator.device)
        for step, t in enumerate(sampler.timesteps):
            prediction = predict(generator, x_t, _repeat(t, x_t), batch.conditions, settings)
            x_t = sampler.step(prediction, step, x_t, batch.seeds)
            if on_step is not None:
                on_step(next(steps_done))
        latents.append(x_t[: batch.num_images])
    return torch.cat(latents)


@torch.no_grad()
def decode(generator: Trajectory, latents: Tensor, batch_size: int) -> Tensor:
    """Return images in the codec's range and unit, decoded in batches of one fixed shape."""
    images = []
    for rows, num_images in _fixed_shape(len(latents), batch_size):
        images.append(generator.codec.decode(latents[rows])[:num_images])
    return torch.cat(images)


@torch.no_grad()
def rollout(
    generator: Trajectory,
    conditions: Conditions,
    seeds: Sequence[int],
    settings: SamplingSettings,
    window: range | None = None,
    *,
    eta: float = 1.0,
    on_step: Callable[[int], None] | None = None,
    keep: int = 0,
) -> Rollout:
    """Sample with DDIM, random (`eta`) inside `window`, deterministic outside.

    Steps are numbered from 0, the noisiest. Without a window every step is random that can be: all
    but the last. Its deviation is 0 or nearly so, as spacing and offset have it, and its density
    would drown all others: it is never in. `on_step` as in `sample`; `settings.eta` is not used.
    The random steps of the first `keep` images, whole compute batches, keep their autograd graphs.
    """
    num_random = settings.num_steps - 1
    window = range(num_random) if window is None else window
    if settings.sampler != "ddim" or eta <= 0:
        raise ValueError("rollouts are DDIM's, with eta above 0")
    if not window or window.step != 1 or window.start < 0 or window.stop > num_random:
        raise ValueError(f"{window} is no window inside {range(num_random)}")
    steps_done = itertools.count(1)
    tick = (lambda: on_step(next(steps_done))) if on_step is not None else (lambda: None)
    parts: list[Rollout] = []
    for batch in _batches(generator, conditions, seeds, settings.batch_size):
        images = range(len(parts) * settings.batch_size, len(seeds))[: batch.num_images]
        keeps = images.stop <= keep
        parts.append(
            _rollout_batch(generator, batch, settings, window, eta, tick, images if keeps else None)
        )
    return _join(parts)


def _rollout_batch(
    generator: Trajectory,
    batch: "_Batch",
    settings: SamplingSettings,
    window: range,
    eta: float,
    tick: Callable[[], None],
    keep: range | None,
) -> Rollout:
    ddim = _Ddim(generator.process, settings)
    x_t = initial_noise(batch.seeds, generator.latent_shape).to(generator.device)
    before, after, log_probs, kept = [], [], [], []
    for step, t in enumerate(ddim.timesteps):
        keeps = keep is not None and step in window
        with torch.set_grad_enabled(keeps):
            prediction = predict(generator, x_t, _repeat(t, x_t), batch.conditions, settings)
            of_images = prediction[: batch.num_images]  # a slice outside would have no gradient
        if keep is not None and keeps:
            kept.append(KeptPrediction(keep, window.index(step), of_images))
            prediction = prediction.detach()
        mean, std = ddim.mean_and_std(prediction, step, x_t, eta if step in window else 0.0)
        if step in window:
            before.append(x_t)
            x_t = mean + std * step_noise(batch.seeds, step, mean.shape[1:]).to(mean)
            after.append(x_t)
            log_probs.append(log_prob(x_t, mean, std))
        else:
            x_t = mean
        tick()
    return Rollout(
        latents=x_t[: batch.num_images],
        x_t=torch.stack(before, dim=1)[: batch.num_images],
        x_next=torch.stack(after, dim=1)[: batch.num_images],
        timesteps_K=torch.tensor([ddim.timesteps[step] for step in window]),
        next_timesteps_K=torch.tensor([ddim.next_timesteps[step] for step in window]),
        log_probs_BK=torch.stack(log_probs, dim=1)[: batch.num_images],
        kept=kept,
    )


def _join(parts: list[Rollout]) -> Rollout:
    return Rollout(
        latents=torch.cat([part.latents for part in parts]),
        x_t=torch.cat([part.x_t for part in parts]),
        x_next=torch.cat([part.x_next for part in parts]),
        timesteps_K=parts[0].timesteps_K,
        next_timesteps_K=parts[0].next_timesteps_K,
        log_probs_BK=torch.cat([part.log_probs_BK for part in parts]),
        kept=[one for part in parts for one in part.kept],
    )


@dataclass(frozen=True)
class _Batch:
    """One compute batch: always `batch_size` rows, of which the first `num_images` count."""

    seeds: list[int]
    conditions: Conditions
    num_images: int


def _batches(
    generator: Trajectory, conditions: Conditions, seeds: Sequence[int], batch_size: int
) -> Iterator[_Batch]:
    if len(conditions) != len(seeds) or not seeds:
        raise ValueError(f"{len(conditions)} conditions for {len(seeds)} seeds")
    for rows, num_images in _fixed_shape(len(seeds), batch_size):
        chosen = conditions.select(rows).to(generator.device)
        yield _Batch([int(seeds[row]) for row in rows], chosen, num_images)


def _fixed_shape(total: int, batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Yield (rows, how many of them count); the last batch repeats the last row."""
    for start in range(0, total, batch_size):
        rows = [min(row, total - 1) for row in range(start, start + batch_size)]
        yield rows, min(batch_size, total - start)


def _repeat(t: int, x_t: Tensor) -> Tensor:
    return torch.full((len(x_t),), t)


class _Sampler(Protocol):
    timesteps: list[int]

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor: ...


def _sampler(schedule: VariancePreserving, settings: SamplingSettings) -> _Sampler:
    """Return a fresh sampler: multistep solvers remember the steps of their own batch."""
    if settings.sampler == "ddim":
        return _Ddim(schedule, settings)
    return _Solver(schedule, settings)


class _Ddim:
    """DDIM, where the next timestep is the next one visited.

    diffusers subtracts num_train_steps // num_steps instead: the same where that divides evenly,
    and always with leading spacing.
    """

    def __init__(self, schedule: VariancePreserving, settings: SamplingSettings) -> None:
        self.schedule, self.eta = schedule, settings.eta
        self.timesteps = schedule.timesteps(settings.num_steps)
        self.next_timesteps = [*self.timesteps[1:], -1]

    def mean_and_std(
        self, prediction: Tensor, step: int, x_t: Tensor, eta: float
    ) -> tuple[Tensor, Tensor]:
        t_B = _repeat(self.timesteps[step], x_t)
        t_next_B = _repeat(self.next_timesteps[step], x_t)
        return stochastic_step(self.schedule, prediction, x_t, t_B, t_next_B, eta)

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        mean, std = self.mean_and_std(prediction, step, x_t, self.eta)
        if self.eta == 0:
            return mean
        return mean + std * step_noise(seeds, step, x_t.shape[1:]).to(mean)


class _Solver:
    """A deterministic multistep solver of diffusers, second order."""

    def __init__(self, schedule: VariancePreserving, settings: SamplingSettings) -> None:
        solver = SOLVERS[settings.sampler]
        known = inspect.signature(solver.__init__).parameters
        config = {key: value for key, value in schedule.config.items() if key in known}
        self.solver = solver.from_config(config)
        self.solver.set_timesteps(settings.num_steps)
        self.timesteps = [int(t) for t in self.solver.timesteps]

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        stepped: Tensor = self.solver.step(prediction, self.solver.timesteps[step], x_t).prev_sample
        return stepped
