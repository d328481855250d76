"""The weights that are trained, their optimiser, and the frozen start that they must stay near."""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from generators import lora
from generators.acceleration import require_compiler
from generators.base import Denoiser
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from generators.rl.config import RLConfig
from generators.rl.memory import first_fit

OLD_DECAY_RAMP = 0.05  # an update: reaches 0.5 at the tenth


class Policy:
    """A generator in training: adapters on a frozen U-Net, or all of its weights (rank 0)."""

    def __init__(self, generator: DiffusionGenerator, config: RLConfig) -> None:
        """Add adapters that change nothing yet, or free the weights beside a frozen copy."""
        self.generator = generator
        self.config = config
        self.fit = first_fit(config)  # how much memory holds at once: found anew as training goes
        self._start: nn.Module | None = None
        if config.lora_rank == 0:
            self._start = copy.deepcopy(generator.denoiser.network)
            generator.denoiser.network.requires_grad_(True)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                lora.add_lora(generator, config.lora_rank, lora.TARGETS[config.lora_targets])
        self.weights = {
            name: weight
            for name, weight in generator.denoiser.named_parameters()
            if weight.requires_grad
        }
        self.averages = self._copied()
        self.old = self._copied() if config.keeps_old_policy else {}
        self.optimizer = torch.optim.AdamW(  # no decay: to hold the weights is the anchor's job
            self.weights.values(), lr=config.learning_rate, weight_decay=0.0
        )

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
        denoiser = self.generator.denoiser
        if self._start is None:
            with lora.disable_lora(self.generator):
                yield
            return
        trained = denoiser.swap(self._start)
        try:
            yield
        finally:
            denoiser.swap(trained)

    def step(self) -> float:
        """Move the weights along the accumulated gradient; return its norm before the cut."""
        norm = nn.utils.clip_grad_norm_(self.weights.values(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise GeneratorError(
                f"The gradient's norm is {norm.item()}: the run diverged. Lower the learning rate, "
                "or use float32 for training; the last checkpoint is whole."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for name, weight in self.weights.items():
            self.averages[name].lerp_(weight.detach(), 1 - self.config.ema_decay)
        return norm.item()

    def forget_gradient(self) -> None:
        """Drop what was accumulated; on a GPU, give unused memory back."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.generator.device.type == "cuda":
            torch.cuda.empty_cache()

    def trail(self, update: int) -> None:
        """After an update, let the old policy, which makes the images, follow the trained one.

        It follows at once in the beginning and then more and more slowly, up to `old_decay`
        (Zheng et al. 2025, DiffusionNFT, section 3.3).
        """
        decay = min(self.config.old_decay, OLD_DECAY_RAMP * update)
        for name, old in self.old.items():
            old.lerp_(self.weights[name].detach(), 1 - decay)

    def at_old(self) -> AbstractContextManager[None]:
        """Inside, the generator predicts as the old policy; the trained one where there is none."""
        return self._at(self.old)

    def save_result(self, folder: Path) -> None:
        """Write the averaged weights: an adapter, or the whole generator."""
        with self._at(self.averages):
            if self._start is None:
                lora.save_lora(self.generator, folder)
            else:
                self.generator.save(folder)

    def _copied(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    @contextmanager
    def _at(self, values: dict[str, Tensor]) -> Iterator[None]:
        last = self._copied()
        self._assign(values)
        try:
            yield
        finally:
            self._assign(last)

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.weights[name].copy_(value)


def require_denoiser(generator: object) -> DiffusionGenerator:
    """Return the generator; refuse one that has no denoising steps to train, such as a GAN."""
    if isinstance(generator, DiffusionGenerator) and isinstance(generator.denoiser, Denoiser):
        return generator
    raise GeneratorError(
        f"{type(generator).__name__} does not denoise step by step, and RL trains such steps. "
        "Choose a diffusion generator: `curate generators list`."
    )
