"""A generator in training: the weights that move, their moving averages and their optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from generators import lora
from generators.base import Conditions, Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import VariancePreserving
from generators.errors import GeneratorError
from generators.training.config import TrainingConfig


@runtime_checkable
class TrainableConditioner(Protocol):
    """A conditioner whose own weights can learn."""

    text_encoder: nn.Module

    def with_gradients(self, prompts: list[Prompt]) -> Conditions:
        """Return what a call returns, computed anew, with gradients to the text encoder."""
        ...

    def forget(self) -> None:
        """Drop what was remembered of the weights as they were."""
        ...


class Trainee:
    """Adapters on a frozen U-Net, or all of its weights, or those and the text encoder's."""

    def __init__(self, generator: DiffusionGenerator, config: TrainingConfig) -> None:
        """Free the weights to train. Raises GeneratorError where the family has no such weights."""
        self.generator, self.config = generator, config
        if config.prediction_type is not None:
            asked = {**generator.process.config, "prediction_type": config.prediction_type}
            generator.process = VariancePreserving.from_config(asked)
        if config.lora_rank:
            with torch.random.fork_rng():
                torch.manual_seed(config.seed)
                targets = lora.TARGETS[config.lora_targets]
                lora.add_lora(generator, config.lora_rank, targets, alpha=config.lora_alpha)
        else:
            generator.denoiser.requires_grad_(True)
        modules: dict[str, nn.Module] = {"denoiser": generator.denoiser}
        if config.train_text_encoder:
            modules["text_encoder"] = self.conditioner.text_encoder.requires_grad_(True)
        if config.gradient_checkpointing:
            generator.denoiser.network.enable_gradient_checkpointing()
        self.weights = {
            f"{part}.{name}": weight
            for part, module in modules.items()
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }
        self.averages = self._copied() if config.ema_decay else {}
        self.optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
        )

    @property
    def conditioner(self) -> TrainableConditioner:
        """Return the conditioner as one that learns."""
        conditioner = self.generator.conditioner
        if not isinstance(conditioner, TrainableConditioner):
            raise GeneratorError(
                f"Family {self.generator.family!r} has no text encoder that can be trained. Leave "
                "--train-text-encoder away."
            )
        return conditioner

    def step(self, step: int) -> float:
        """Move the weights along the accumulated gradient; return its norm before the cut."""
        norm = nn.utils.clip_grad_norm_(self.weights.values(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise GeneratorError(
                f"The gradient's norm is {norm.item()} at step {step}: the training diverged. "
                "Lower --learning-rate or take --dtype float32; the last checkpoint is whole."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))  # follows fast at first
        for name, average in self.averages.items():
            average.lerp_(self.weights[name].detach(), 1 - decay)
        return norm.item()

    @contextmanager
    def at_averages(self) -> Iterator[None]:
        """Inside, the generator is what the training would end with now."""
        last = self._copied() if self.averages else {}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(last)

    def save_result(self, folder: Path) -> None:
        """Write the averaged weights: an adapter, or the whole generator."""
        with self.at_averages():
            if self.config.lora_rank:
                lora.save_lora(self.generator, folder)
            else:
                self.generator.save(folder)

    def _copied(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.weights[name].copy_(value)
        if values and self.config.train_text_encoder:
            self.conditioner.forget()
