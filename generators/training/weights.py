"""The weights of a generator that are trained, their moving averages and their optimiser.

Fine-tuning and RL move them alike; what they learn from, and what holds them back, differs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from generators import lora
from generators.base import Trainable
from generators.errors import GeneratorError

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters on the denoiser's network; with rank 0 all of its own weights instead."""

    rank: int
    targets: str  # a name in `lora.TARGETS`
    seed: int  # of their first weights
    alpha: float | None = None  # alpha / rank scales them; None: alpha = rank


@dataclass(frozen=True)
class Descent:
    """How weights move: AdamW, the cut of the gradient before it, the moving average after it."""

    learning_rate: float
    max_grad_norm: float  # L2 norm over all trained weights
    ema_decay: float  # 0: the result is the last weights, and no average is kept
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0


def free(generator: Trainable, adapters: Adapters) -> None:
    """Add adapters that change nothing yet, or free the network's own weights."""
    if adapters.rank == 0:
        generator.denoiser.requires_grad_(True)
        return
    with torch.random.fork_rng():
        torch.manual_seed(adapters.seed)
        targets = lora.TARGETS[adapters.targets]
        lora.add_lora(generator, adapters.rank, targets, alpha=adapters.alpha)


class Weights:
    """All weights of some of a generator's modules that learn."""

    def __init__(
        self,
        generator: Trainable,
        modules: Mapping[str, nn.Module],
        descent: Descent,
        *,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what is free; `modules` are by the first word of their weights' names.

        `moved` is told when other values were put in the place of the weights.
        """
        self.generator, self.descent, self._moved = generator, descent, moved
        self.named: dict[str, nn.Parameter] = {
            f"{prefix}{name}": weight
            for prefix, module in modules.items()
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }
        self.averages = self.copied() if descent.ema_decay else {}
        self.optimizer = torch.optim.AdamW(
            self.named.values(),
            lr=descent.learning_rate,
            betas=descent.betas,
            eps=descent.epsilon,
            weight_decay=descent.weight_decay,
        )

    def step(self, *, learning_rate: float | None = None, ema_decay: float = 1.0) -> float:
        """Move along the accumulated gradient; return its norm before the cut.

        This step's learning rate, and a bound on how slowly the average follows, where they differ
        from the usual ones.
        """
        norm = nn.utils.clip_grad_norm_(self.named.values(), self.descent.max_grad_norm)
        if not torch.isfinite(norm):
            raise GeneratorError(
                f"The gradient's norm is {norm.item()}: the training diverged. Lower the learning "
                "rate, or train in float32; the last checkpoint is whole."
            )
        if learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        follow(self.averages, self.named, min(self.descent.ema_decay, ema_decay))
        return norm.item()

    def forget_gradient(self) -> None:
        """Drop what was accumulated; on a GPU, give unused memory back."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.generator.device.type == "cuda":
            torch.cuda.empty_cache()

    def copied(self) -> dict[str, Tensor]:
        """Return the weights as they are now."""
        return {name: weight.detach().clone() for name, weight in self.named.items()}

    @contextmanager
    def at(self, values: Named) -> Iterator[None]:
        """Inside, the weights have these values; none: their own."""
        last = self.copied() if values else {}
        self._assign(values)
        try:
            yield
        finally:
            self._assign(last)

    def save_result(self, folder: Path) -> None:
        """Write the averaged weights: an adapter, or the whole generator."""
        with self.at(self.averages):
            if lora.is_adapted(self.generator):
                lora.save_lora(self.generator, folder)
            else:
                self.generator.save(folder)

    @torch.no_grad()
    def _assign(self, values: Named) -> None:
        for name, value in values.items():
            self.named[name].copy_(value)
        if values:
            self._moved()


def follow(averages: Named, weights: Named, decay: float) -> None:
    """Let moving averages follow: average <- decay average + (1 - decay) weight, in place."""
    for name, average in averages.items():
        average.lerp_(weights[name].detach(), 1 - decay)
