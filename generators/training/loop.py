"""The steps of a fine-tuning, one after the other: draw, predict, learn, look on, keep.

Knows no workspace: `curate` hands it latents and embeddings, and is told of every step.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from generators.base import Conditions, Prompt, Trainable, require_trajectory
from generators.errors import GeneratorError
from generators.memory import lacks_memory
from generators.training.config import TrainingConfig
from generators.training.history import History, Validation, load_history, save_history
from generators.training.lesson import (
    Draws,
    Drop,
    Example,
    Lesson,
    Showing,
    Slot,
    cut,
    cut_prompt,
    seeded,
    shown_prompt,
)
from generators.training.objective import Objective, objective_of
from generators.training.processes import Listen, Processes, joined_processes
from generators.training.weights import Adapters, Descent, Weights, free

Report = Callable[[History], None]  # told after every step
LookOn = Callable[[Weights, int], None]  # shown the weights at their averages, after so many steps


@dataclass(frozen=True)
class Trained:
    """A training at its end, or where it was stopped: the weights, and what happened."""

    weights: Weights
    history: History
    is_finished: bool  # all steps were taken


def train(
    generator: Trainable,
    lesson: Lesson,
    config: TrainingConfig,
    *,
    folder: Path,
    report: Report = lambda history: None,
    look_on: LookOn = lambda weights, step: None,
    listen: Listen = lambda: "run",
) -> Trained:
    """Take the steps that `folder`'s checkpoint has not; return what all of them made.

    Killed at any moment and called again, it ends with the same weights, to the last bit on a CPU.
    `listen` is asked before every step: "pause" waits, "stop" keeps the steps taken and returns.
    """
    processes = joined_processes()
    generator.to(processes.device)
    generator.denoiser.train()  # dropout, where the U-Net has any; its draws are seeded too
    weights = weights_to_train(generator, config)
    objective = objective_of(generator, config)
    teacher = _Teacher(weights, objective, config, lesson, processes)
    history = load_history(folder, weights, config, objective.rival)
    if not history.validations:
        teacher.look(history, look_on)
    while history.num_steps < config.num_steps and processes.may_go_on(listen):
        teacher.step(history)
        done = history.num_steps
        if done % config.validate_every == 0 or done == config.num_steps:
            teacher.look(history, look_on)
        if done % config.checkpoint_every == 0:
            teacher.keep(folder, history)
        report(history)
    if history.num_steps % config.checkpoint_every:
        teacher.keep(folder, history)
    generator.denoiser.eval()
    return Trained(weights, history, history.num_steps == config.num_steps)


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


def weights_to_train(generator: Trainable, config: TrainingConfig) -> Weights:
    """Free adapters, or all of the network's weights, or those and the text encoder's.

    Raises GeneratorError where the family has no such weights.
    """
    if config.prediction_type is not None:
        denoising = require_trajectory(generator)
        denoising.process = denoising.process.predicting(config.prediction_type)
    adapters = Adapters(config.lora_rank, config.lora_targets, config.seed, config.lora_alpha)
    free(generator, adapters)
    for name in generator.denoiser.whole:  # adapters beside a layer that begins at 0 learn nothing
        generator.denoiser.network.get_submodule(name).requires_grad_(True)
    modules: dict[str, nn.Module] = {"denoiser.": generator.denoiser}
    conditioner = trainable_conditioner(generator) if config.train_text_encoder else None
    if conditioner is not None:
        modules["text_encoder."] = conditioner.text_encoder.requires_grad_(True)
    if config.gradient_checkpointing:
        generator.denoiser.network.enable_gradient_checkpointing()
    descent = Descent(
        learning_rate=config.learning_rate,
        max_grad_norm=config.max_grad_norm,
        ema_decay=config.ema_decay,
        betas=(config.beta1, config.beta2),
        epsilon=config.epsilon,
        weight_decay=config.weight_decay,
    )
    if conditioner is None:
        return Weights(generator, modules, descent)
    return Weights(generator, modules, descent, moved=conditioner.forget)


def trainable_conditioner(generator: Trainable) -> TrainableConditioner:
    """Return the conditioner as one that learns."""
    if not isinstance(generator.conditioner, TrainableConditioner):
        raise GeneratorError(
            f"Family {generator.family!r} has no text encoder that can be trained. Omit "
            "--train-text-encoder."
        )
    return generator.conditioner


class _Teacher:
    """One process's part of every step."""

    def __init__(
        self,
        weights: Weights,
        objective: Objective,
        config: TrainingConfig,
        lesson: Lesson,
        processes: Processes,
    ) -> None:
        self.weights, self.objective, self.config = weights, objective, config
        self.lesson, self.processes = lesson, processes
        self.generator = weights.generator
        self.draws = Draws(lesson, config, self.generator.latent_shape, objective.draw_time)

    def step(self, history: History) -> None:
        """Take one optimiser step and write it down."""
        started, step = time.monotonic(), history.num_steps
        loss = sum(self.processes.told(self._accumulate(step)))
        rate = self.config.learning_rate_at(step)
        self.processes.sum_gradients(self.weights.named)
        norm = self.weights.step(
            learning_rate=rate,
            ema_decay=(1 + step) / (10 + step),  # follows fast at first
        )
        if self.objective.rival is not None:
            self.processes.sum_gradients(self.objective.rival.named)
            self.objective.rival.step(learning_rate=rate)
        history.gradient_norms.append(norm)
        history.losses.append(loss)
        history.seconds += time.monotonic() - started

    def _accumulate(self, step: int) -> float:
        """Add up the gradient of our slots; return their part of the step's mean loss."""
        config, total = self.config, 0.0
        mine = self.processes.in_turn(config.batch_size)
        for start in range(0, len(mine), config.micro_batch):
            places = mine[start : start + config.micro_batch]
            slots = self.draws.slots(step, places)
            own = seeded(config.seed, "dropout", step, places.start)  # whoever's places they are
            with torch.random.fork_rng():
                torch.manual_seed(own.initial_seed())
                try:
                    loss = self._losses(slots).sum() / config.batch_size
                    loss.backward()
                except (RuntimeError, MemoryError) as error:
                    if not lacks_memory(error):
                        raise
                    raise GeneratorError(
                        "The device has too little memory for this step. Halve --micro-batch (the "
                        "gradient stays the same), or take --gradient-checkpointing, --dtype "
                        "bfloat16 or --lora-rank 8; the same command goes on from the last "
                        "checkpoint."
                    ) from error
            total += loss.item()
        return total

    def _losses(self, slots: Sequence[Slot]) -> Tensor:
        latents, conditions = self._shown([slot.shown for slot in slots])
        device = self.processes.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            return self.objective.losses(latents.to(device), conditions.to(device), slots)

    def _shown(self, shown: Sequence[Showing]) -> tuple[Tensor, Conditions]:
        """Return images' latents and their conditions; of a larger image the patch `within` it."""
        shape, nothing = (
            self.generator.latent_shape[1:],
            self.generator.conditioner.unconditional(1),
        )
        latents, prompts, rows = [], [], []
        for one in shown:
            whole, prompt = self.lesson.latents(one.image), shown_prompt(one.prompt, one.drop)
            is_patch = tuple(whole.shape[1:]) != tuple(shape)
            latents.append(cut(whole, shape, one.within) if is_patch else whole)
            if self.config.train_text_encoder:
                prompts.append(cut_prompt(prompt, shape, one.within) if is_patch else prompt)
                continue
            row = nothing
            if one.drop is not Drop.CONDITIONS:
                row = self.lesson.embed(prompt).to(self.processes.device)
            if is_patch and "channels" in row.parts and row is not nothing:
                channels = cut(row.parts["channels"], shape, one.within)
                row = Conditions({**row.parts, "channels": channels})
            if one.drop is Drop.IMAGES and "channels" in nothing.parts:
                row = row.taking(nothing, "channels")
            rows.append(row)
        if self.config.train_text_encoder:
            return torch.stack(latents), trainable_conditioner(self.generator).with_gradients(
                prompts
            )
        return torch.stack(latents), Conditions.join(rows)

    def keep(self, folder: Path, history: History) -> None:
        """Write a checkpoint; every process goes on when it is there."""
        if self.processes.is_first:
            rival = self.objective.rival
            save_history(folder, self.weights, self.config, history, rival)
        self.processes.wait()

    def look(self, history: History, look_on: LookOn) -> None:
        """Validate the averaged weights and show them."""
        with self.weights.at(self.weights.averages):
            self.generator.denoiser.eval()
            try:
                found = self._validation(history.num_steps)
                if self.processes.is_first:
                    look_on(self.weights, history.num_steps)
            finally:
                self.generator.denoiser.train()
        self.processes.wait()
        history.validations.append(found)

    @torch.no_grad()
    def _validation(self, step: int) -> Validation:
        """Measure images that are never trained on, unweighted, at noise levels of their own."""
        examples = self.lesson.validation
        mine = [
            (place, self._example_loss(place, examples[place]))
            for place in range(self.processes.index, len(examples), self.processes.count)
        ]
        losses: dict[str, list[float]] = {}
        for place, loss in sorted(itertools.chain.from_iterable(self.processes.told(mine))):
            losses.setdefault(examples[place].group, []).append(loss)
        return Validation(step, losses)

    def _example_loss(self, place: int, example: Example) -> float:
        middle = (0.5,) * (len(self.draws.latent_shape) - 1)
        shown = Showing(example.image, example.prompt, Drop.NOTHING, middle)
        latents, conditions = self._shown([shown] * self.config.validation_noises)
        device = self.processes.device
        losses_B = self.objective.held_out(
            latents.to(device), conditions.to(device), seeded("validation", example.image)
        )
        return losses_B.mean().item()
