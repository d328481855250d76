"""What sampling is made of: noise by seed, compute batches of one shape, and the samplers' steps.

Tensor names carry shapes: B images; a name without a suffix has the
shape of a batch of latents.

Noise is drawn on the CPU, per image, from (seed, step), and compute batches have one fixed shape,
so an image does not depend on its neighbours, their order or the number of workers.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from generators.base import Conditions, Generator, Process, Trainable, Trajectory
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


def item_shape(generator: Trainable, conditions: Conditions) -> tuple[int, ...]:
    """Return the shape of one item's latents: where there are condition images, theirs."""
    channels = conditions.parts.get("channels")
    spatial = generator.latent_shape[1:] if channels is None else channels.shape[2:]
    return generator.latent_shape[0], *spatial


@dataclass(frozen=True)
class ComputeBatch:
    """One compute batch: always `batch_size` rows, of which the first `num_images` count."""

    seeds: list[int]
    conditions: Conditions
    num_images: int


def batches(
    generator: Generator, conditions: Conditions, seeds: Sequence[int], batch_size: int
) -> Iterator[ComputeBatch]:
    """Yield compute batches of one fixed shape, on the generator's device."""
    if len(conditions) != len(seeds) or not seeds:
        raise ValueError(f"{len(conditions)} conditions for {len(seeds)} seeds")
    for rows, num_images in fixed_shape(len(seeds), batch_size):
        chosen = conditions.select(rows).to(generator.device)
        yield ComputeBatch([int(seeds[row]) for row in rows], chosen, num_images)


def fixed_shape(total: int, batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Yield (rows, how many of them count); the last batch repeats the last row."""
    for start in range(0, total, batch_size):
        rows = [min(row, total - 1) for row in range(start, start + batch_size)]
        yield rows, min(batch_size, total - start)


def repeat(t: float, x_t: Tensor) -> Tensor:
    """Return one timestep for all images: [B]."""
    return torch.full((len(x_t),), t)


class Sampler(Protocol):
    """Takes the steps of one compute batch."""

    timesteps: list[float]

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the latents after a step."""
        ...


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


class EditFriendly(FirstOrder):
    """DDPM's steps, in which the noise maps of a source take the place of fresh noise.

    Edit-friendly inversion (Huberman-Spiegelglas et al. 2024): the source is noised independently
    for every level, and what an unguided step without a text lacks of the next one is the noise map
    that an edit gets. Asked for nothing, sampling gives back the source. The maps' deviation is the
    same in both steps and not divided out, so that a last step without noise is no exception.
    """

    def __init__(
        self, generator: Trajectory, batch: "ComputeBatch", settings: SamplingSettings
    ) -> None:
        """Take the batch whose sources are inverted."""
        super().__init__(generator.process, settings)
        self.generator, self.clean = generator, batch.conditions.parts["start"]
        self.nothing = generator.conditioner.unconditional(len(batch.seeds)).to(generator.device)
        self.first_step = settings.first_step
        self.plain = replace(settings, guidance=1.0, image_guidance=None)

    def step(self, prediction: Tensor, step: int, x_t: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the latents after a step."""
        mean, _ = self.mean_and_std(prediction, step, x_t, 1.0)
        source = self._noised(step, seeds)
        asked = repeat(self.timesteps[step], source)
        own = predict(self.generator, source, asked, self.nothing, self.plain)
        expected, _ = self.mean_and_std(own, step, source, 1.0)
        return mean + (self._noised(step + 1, seeds) - expected)

    def _noised(self, step: int, seeds: Sequence[int]) -> Tensor:
        """Return the source as it is before a step; before the first, as sampling starts."""
        if step == len(self.timesteps):
            return self.clean
        shape = self.clean.shape[1:]
        is_first = step == self.first_step
        noise = initial_noise(seeds, shape) if is_first else step_noise(seeds, step, shape)
        t_B = repeat(self.timesteps[step], self.clean)
        return self.process.noised(self.clean, noise.to(self.clean), t_B)


def sampler_of(generator: Trajectory, batch: "ComputeBatch", settings: SamplingSettings) -> Sampler:
    """Return a fresh one: multistep solvers remember the steps of their own batch."""
    if settings.method == "inversion":
        return EditFriendly(generator, batch, settings)
    kind = FirstOrder if settings.sampler == "ddim" else _Solver
    sampler: Sampler = kind(generator.process, settings)
    return sampler


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
