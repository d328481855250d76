"""The policy: weights in training, the frozen start that they must stay near, and how it is asked.

Shapes: N (image, noise level) pairs; a name without a suffix is a batch of latents.
"""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators import lora
from generators.acceleration import require_compiler
from generators.base import Conditions, Trajectory
from generators.config import SamplingSettings
from generators.diffusion.guidance import predict
from generators.errors import GeneratorError
from generators.rl.config import RLConfig
from generators.training.weights import Adapters, Descent, Weights, follow, free

OLD_DECAY_RAMP = 0.05  # an update: reaches 0.5 at the tenth
FASTEST_ON_CPU = 32  # pairs a backward pass; more spill the caches


@dataclass(frozen=True)
class MemoryFit:
    """How an update is cut into passes: speed and memory, and the gradient to rounding only."""

    micro_batch: int  # (image, step) pairs a backward pass
    kept_images: int = 0  # whose rollout keeps its graphs, whole compute batches

    def smaller(self) -> "MemoryFit":
        """Return the fit to try after a lack of memory; GeneratorError when there is none."""
        if self.kept_images:
            return MemoryFit(self.micro_batch)
        if self.micro_batch == 1:
            raise GeneratorError(
                "Not enough memory to train on a single (image, step) pair. Use a GPU with more, "
                "--training-dtype bfloat16, or adapters instead of full weights."
            )
        return MemoryFit(self.micro_batch // 2)


class Policy:
    """A generator in training: adapters on a frozen network, or all of its weights (rank 0)."""

    def __init__(
        self, generator: Trajectory, config: RLConfig, base: nn.Module | None = None
    ) -> None:
        """Add adapters that change nothing yet, or free the weights beside a frozen copy.

        `base` is the network that no RL step made, where the start is another.
        """
        self.generator = generator
        self.config = config
        self.fit = MemoryFit(
            config.micro_batch or FASTEST_ON_CPU
        )  # until something better was found
        self._start: nn.Module | None = None
        self._base = base if config.base_target is not None else None
        if config.lora_rank == 0:
            self._start = copy.deepcopy(generator.denoiser.network)
        free(generator, Adapters(config.lora_rank, config.lora_targets, config.seed))
        self.weights = Weights(
            generator,
            {"": generator.denoiser},
            Descent(  # no decay: to hold the weights is the anchor's job
                config.learning_rate, config.max_grad_norm, config.ema_decay
            ),
        )
        self.old = self.weights.copied() if config.keeps_old_policy else {}
        self.best = self.weights.copied() if config.check_every else {}  # once something is checked

    def compile(self) -> None:
        """Compile the denoiser where the settings say so; each new shape of a batch takes time.

        Without CUDA graphs: they reuse the memory of predictions whose autograd graphs are kept.
        """
        if self.config.compile:
            require_compiler()
            self.generator.denoiser.network.compile()

    @contextmanager
    def at_start(self) -> Iterator[None]:
        """Inside, the generator predicts exactly as it did before training."""
        if self._start is not None:
            with self._swapped(self._start):
                yield
            return
        with lora.disable_lora(self.generator):
            yield

    @property
    def knows_base(self) -> bool:
        """Return whether the budget is counted to another version than the start, too."""
        return self._base is not None

    def at_base(self) -> AbstractContextManager[None]:
        """Inside, the generator predicts as the version that no RL step made."""
        assert self._base is not None  # `knows_base`
        return self._swapped(self._base)

    @contextmanager
    def _swapped(self, network: nn.Module) -> Iterator[None]:
        trained = self.generator.denoiser.swap(network)
        try:
            yield
        finally:
            self.generator.denoiser.swap(trained)

    @torch.no_grad()
    def keep_share(self, share: float) -> None:
        """Keep this share, 0 .. 1, of the weights' way from the start, and of their average's.

        Of adapters' products the zero half alone is scaled.
        """
        if share == 1.0:
            return
        part = self.generator.denoiser.part
        at_start = () if self._start is None else self._start.named_parameters()
        starts = {f"{part}.{name}": weight for name, weight in at_start}
        for named in (self.weights.named, self.weights.averages):
            for name, weight in named.items():
                if name in starts:
                    weight.lerp_(starts[name], 1 - share)
                elif lora.begins_at_zero(name):
                    weight.mul_(share)

    def note_best(self) -> None:
        """Keep the result as it would be now."""
        now = self.weights.averages or self.weights.named
        for name, kept in self.best.items():
            kept.copy_(now[name].detach())

    @torch.no_grad()
    def take_best(self) -> None:
        """Let the weights be those that were kept."""
        for named in (self.weights.named, self.weights.averages):
            for name in named:
                named[name].copy_(self.best[name])

    def make_do_with_less(self) -> None:
        """After a lack of memory, take smaller passes; GeneratorError when there are none."""
        self.fit = self.fit.smaller()
        self.weights.forget_gradient()

    def trail(self, update: int) -> None:
        """After an update, let the old policy, which makes the images, follow the trained one.

        It follows at once in the beginning and then more and more slowly, up to `old_decay`
        (Zheng et al. 2025, DiffusionNFT, section 3.3).
        """
        follow(self.old, self.weights.named, min(self.config.old_decay, OLD_DECAY_RAMP * update))

    def at_old(self) -> AbstractContextManager[None]:
        """Inside, the generator predicts as the old policy; the trained one where there is none."""
        return self.weights.at(self.old)

    @torch.no_grad()
    def predictions(
        self, x_t: Tensor, t_N: Tensor, conditions: Conditions, guidance: float = 1.0
    ) -> Tensor:
        """Return what the weights as they are now predict, shaped like `x_t`."""
        settings = training_settings(self.config, guidance)
        return torch.cat(
            [
                predict(self.generator, x_t[rows], t_N[rows], conditions.select(rows), settings)
                for rows in micro_batches(torch.arange(len(t_N)), self.fit.micro_batch)
            ]
        )


def rollout_settings(config: RLConfig, sampler: str = "ddim") -> SamplingSettings:
    """Return the settings that images are made with."""
    return SamplingSettings(
        num_steps=config.num_steps,
        guidance=config.guidance,
        sampler=sampler,
        batch_size=config.rollout_batch,
        dtype=config.rollout_dtype,
    )


def training_settings(config: RLConfig, guidance: float) -> SamplingSettings:
    """Return how predictions are made in training."""
    return SamplingSettings(
        num_steps=config.num_steps, guidance=guidance, dtype=config.training_dtype
    )


def micro_batches(rows: Tensor, micro_batch: int, together: int = 1) -> Iterator[Tensor]:
    """Yield row numbers, about `micro_batch` at a time, `together` neighbours never apart."""
    size = max(micro_batch // together, 1) * together
    if len(rows):  # torch splits nothing into one piece
        yield from rows.split(size)
