"""From noise to latents, one step at a time.

Written once for every family. Tensor names carry shapes: B images; a name without a suffix has the
shape of a batch of latents.

Noise is drawn on the CPU, per image, from (seed, step), and compute batches have one fixed shape,
so an image does not depend on its neighbours, their order or the number of workers.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from generators.base import Conditions, Process, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.guidance import predict
from generators.errors import GeneratorError
from generators.seeds import hashed_seed

SOLVERS = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}


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


def item_shape(generator: Trajectory, conditions: Conditions) -> tuple[int, ...]:
    """Return the shape of one item's latents: where there are condition images, theirs."""
    channels = conditions.parts.get("channels")
    spatial = generator.latent_shape[1:] if channels is None else channels.shape[2:]
    return generator.latent_shape[0], *spatial


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

    `on_step` is told after each step how many are done, of those taken x compute batches.
    """
    if settings.starts_from_source and "start" not in conditions.parts:
        raise GeneratorError(
            "--strength and --invert start from a source image, and these prompts have none."
        )
    latents = []
    steps_done = itertools.count(1)
    # with windows a compute batch is one of windows, of one image after the other
    at_once = settings.batch_size if settings.window is None else 1
    for batch in batches(generator, conditions, seeds, at_once):
        # a fresh one: multistep solvers remember the steps of their own batch
        kind = FirstOrder if settings.sampler == "ddim" else _Solver
        sampler: _Sampler = kind(generator.process, settings)
        shown = batch.conditions.without("start")
        x_t = _start(generator, batch, settings)
        for step, t in enumerate(sampler.timesteps):
            if step < settings.first_step:
                continue
            prediction = predict(generator, x_t, repeat(t, x_t), shown, settings)
            x_t = sampler.step(prediction, step, x_t, batch.seeds)
            if on_step is not None:
                on_step(next(steps_done))
        latents.append(x_t[: batch.num_images])
    return torch.cat(latents)


def _start(generator: Trajectory, batch: "ComputeBatch", settings: SamplingSettings) -> Tensor:
    """Return noise, or source images as they look at the first step's noise level."""
    shape = item_shape(generator, batch.conditions)
    noise = initial_noise(batch.seeds, shape).to(generator.device)
    if not settings.starts_from_source:
        return noise
    clean, process = batch.conditions.parts["start"], generator.process
    if settings.invert:
        return inverted(generator, clean, batch.conditions.without("start"), settings)
    first = process.timesteps(settings.num_steps)[settings.first_step]
    return process.noised(clean, noise, repeat(first, noise))


def inverted(
    generator: Trajectory, clean: Tensor, conditions: Conditions, settings: SamplingSettings
) -> Tensor:
    """Return the noise of which deterministic sampling, unguided, makes these latents.

    DDIM's steps the other way round, from the sample to the first step's noise level (Song et al.
    2021, section 4.3): the more steps, the nearer.
    """
    plain = replace(settings, guidance=1.0, image_guidance=None)
    timesteps = generator.process.timesteps(settings.num_steps)[settings.first_step :]
    upwards = [generator.process.end, *reversed(timesteps)]
    x_t = clean
    for t, t_next in itertools.pairwise(upwards):
        asked = repeat(max(t, type(t)(0)), x_t)  # no network knows the end's -1
        prediction = predict(generator, x_t, asked, conditions, plain)
        x_t, _ = generator.process.step(prediction, x_t, repeat(t, x_t), repeat(t_next, x_t), 0.0)
    return x_t


@torch.no_grad()
def decode(generator: Trajectory, latents: Tensor, batch_size: int) -> Tensor:
    """Return images in the codec's range and unit, decoded in batches of one fixed shape."""
    images = []
    for rows, num_images in _fixed_shape(len(latents), batch_size):
        images.append(generator.codec.decode(latents[rows])[:num_images])
    return torch.cat(images)


@dataclass(frozen=True)
class ComputeBatch:
    """One compute batch: always `batch_size` rows, of which the first `num_images` count."""

    seeds: list[int]
    conditions: Conditions
    num_images: int


def batches(
    generator: Trajectory, conditions: Conditions, seeds: Sequence[int], batch_size: int
) -> Iterator[ComputeBatch]:
    """Yield compute batches of one fixed shape, on the generator's device."""
    if len(conditions) != len(seeds) or not seeds:
        raise ValueError(f"{len(conditions)} conditions for {len(seeds)} seeds")
    for rows, num_images in _fixed_shape(len(seeds), batch_size):
        chosen = conditions.select(rows).to(generator.device)
        yield ComputeBatch([int(seeds[row]) for row in rows], chosen, num_images)


def _fixed_shape(total: int, batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Yield (rows, how many of them count); the last batch repeats the last row."""
    for start in range(0, total, batch_size):
        rows = [min(row, total - 1) for row in range(start, start + batch_size)]
        yield rows, min(batch_size, total - start)


def repeat(t: float, x_t: Tensor) -> Tensor:
    """Return one timestep for all images: [B]."""
    return torch.full((len(x_t),), t)


class _Sampler(Protocol):
    timesteps: list[float]

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor: ...


class FirstOrder:
    """DDIM, where the next timestep is the next one visited; for flow matching, Euler's method.

    diffusers subtracts num_train_steps // num_steps instead: the same where that divides evenly,
    and always with leading spacing.
    """

    def __init__(self, process: Process, settings: SamplingSettings) -> None:
        """Note the timesteps that these settings visit."""
        self.process, self.eta = process, settings.eta
        self.timesteps = process.timesteps(settings.num_steps)
        self.next_timesteps = [*self.timesteps[1:], process.end]

    def mean_and_std(
        self, prediction: Tensor, step: int, x_t: Tensor, eta: float
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of the latents after a step, and their standard deviation."""
        t_B = repeat(self.timesteps[step], x_t)
        t_next_B = repeat(self.next_timesteps[step], x_t)
        return self.process.step(prediction, x_t, t_B, t_next_B, eta)

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the latents after a step."""
        mean, std = self.mean_and_std(prediction, step, x_t, self.eta)
        if self.eta == 0:
            return mean
        return mean + std * step_noise(seeds, step, x_t.shape[1:]).to(mean)


class _Solver:
    """A deterministic multistep solver of diffusers, second order."""

    def __init__(self, process: Process, settings: SamplingSettings) -> None:
        if process.prediction_type == "flow_prediction":
            raise GeneratorError(
                f"{settings.sampler} does not sample from flow matching. Use --sampler ddim, which "
                "is Euler's method there."
            )
        solver = SOLVERS[settings.sampler]
        known = inspect.signature(solver.__init__).parameters
        config = {key: value for key, value in process.config.items() if key in known}
        self.solver = solver.from_config(config)
        self.solver.set_timesteps(settings.num_steps)
        self.timesteps: list[float] = [int(t) for t in self.solver.timesteps]

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        stepped: Tensor = self.solver.step(prediction, self.solver.timesteps[step], x_t).prev_sample
        return stepped
