"""What is learned from, and which of it each step sees: all of it drawn from (seed, step, slot).

A step has `batch_size` slots. What a slot holds does not depend on the slots beside it, on how many
processes share them or on what was drawn before, so that a run can go on from any step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.base import Conditions, Prompt
from generators.errors import GeneratorError
from generators.sample import Sample
from generators.seeds import hashed_seed
from generators.training.config import TrainingConfig


class Drop(Enum):
    """What of its conditions an image is shown without."""

    NOTHING = "nothing"
    CONDITIONS = "conditions"  # all of them: what guidance steers away from
    TEXT = "text"
    MODALITY = "modality"
    WORDS = "words"  # text and modality; condition images stay
    IMAGES = "images"


@dataclass(frozen=True)
class Example:
    """One image with what it shows."""

    image: str  # key of its latents
    prompt: Prompt
    group: str  # losses are told apart by this: the modality
    mirrored: "Example | None" = None  # its mirror image, conditions and all: one is drawn


@dataclass(frozen=True)
class Pool:
    """Examples that make up a fixed share of every step: the new ones, the old ones."""

    examples: Sequence[Example]
    share: float = 1.0


@dataclass(frozen=True)
class Lesson:
    """Everything that a training reads."""

    pools: Sequence[Pool]
    validation: Sequence[Example]  # never trained on
    latents: Callable[[str], Tensor]  # of one image by its key: float32 [...], no batch axis
    embed: Callable[[Prompt], Conditions]  # one row


@dataclass(frozen=True)
class Showing:
    """An image as a network is shown it."""

    image: str  # key of its latents
    prompt: Prompt
    drop: Drop
    within: tuple[float, ...]  # a number in 0 .. 1 an axis: where in a larger image its patch lies


@dataclass(frozen=True)
class Slot:
    """One image of one step, with all that is random about it."""

    shown: Showing
    timestep: float
    noise: Tensor  # what is asked back
    added_noise: Tensor  # what the image is noised with


class Draws:
    """The slots of every step."""

    def __init__(
        self,
        lesson: Lesson,
        config: TrainingConfig,
        latent_shape: Sequence[int],
        draw_time: Callable[[torch.Generator], float],
    ) -> None:
        """Share the slots out to the pools; each must get at least one a step."""
        self.config = config
        self.latent_shape = tuple(latent_shape)
        self.draw_time = draw_time
        self.pools = lesson.pools
        self.sizes = pool_sizes(lesson.pools, config.batch_size)

        @lru_cache(maxsize=2 * len(lesson.pools))
        def order(pool: int, epoch: int) -> list[int]:
            source = seeded(config.seed, "order", pool, epoch)
            return torch.randperm(len(lesson.pools[pool].examples), generator=source).tolist()

        self._order = order

    def slots(self, step: int, wanted: range) -> list[Slot]:
        """Return the slots in `wanted`, of 0 .. batch_size - 1.

        Each pool's examples come in shuffled rounds, so that every one comes up.
        """
        chosen = []
        for number, (pool, size) in enumerate(zip(self.pools, self.sizes, strict=True)):
            for draw in range(step * size, (step + 1) * size):
                epoch, place = divmod(draw, len(pool.examples))
                chosen.append(pool.examples[self._order(number, epoch)[place]])
        return [self._slot(chosen[place], step, place) for place in wanted]

    def _slot(self, example: Example, step: int, place: int) -> Slot:
        config, source = self.config, seeded(self.config.seed, "slot", step, place)
        timestep = self.draw_time(source)
        dropping, mirroring = torch.rand(2, generator=source).tolist()
        noise = torch.randn(*self.latent_shape, generator=source)
        if config.noise_offset:
            flat = (self.latent_shape[0], *[1] * (len(self.latent_shape) - 1))
            noise = noise + config.noise_offset * torch.randn(*flat, generator=source)
        added = noise
        if config.input_perturbation:
            more = torch.randn(*self.latent_shape, generator=source)
            added = noise + config.input_perturbation * more
        if example.mirrored is not None and mirroring < 0.5:
            example = example.mirrored
        # drawn last: trainings that have no patches draw what they always drew
        within = torch.rand(len(self.latent_shape) - 1, generator=source)
        drop = drop_at(config, dropping)
        shown = Showing(example.image, example.prompt, drop, tuple(within.tolist()))
        return Slot(shown, timestep, noise, added)


def cut(image: Tensor, shape: Sequence[int], within: Sequence[float]) -> Tensor:
    """Return the patch of this spatial shape [..., *shape] that lies at `within` of the room.

    An axis that is too short is filled with its own border, as much at both ends. Images of one
    spatial shape are cut alike, so that a mask stays over its image.
    """
    for axis, chosen in _patch(tuple(image.shape), shape, within):
        image = image.index_select(axis, torch.from_numpy(chosen).to(image.device))
    return image


def cut_prompt(prompt: Prompt, shape: Sequence[int], within: Sequence[float]) -> Prompt:
    """Return the prompt with its condition images cut as the image is."""
    images = {}
    for role, sample in prompt.images.items():
        array = sample.array
        for axis, chosen in _patch(array.shape, shape, within):
            array = np.take(array, chosen, axis)
        images[role] = Sample(array, sample.kind)
    return replace(prompt, images=images)


def _patch(
    whole: Sequence[int], shape: Sequence[int], within: Sequence[float]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each spatial axis with the positions that a patch takes of it."""
    for axis, (size, place) in enumerate(zip(shape, within, strict=True), len(whole) - len(shape)):
        room = whole[axis] - size
        first = int(place * (room + 1)) if room >= 0 else -(-room // 2)
        yield axis, np.arange(first, first + size).clip(0, whole[axis] - 1)


def pool_sizes(pools: Sequence[Pool], batch_size: int) -> list[int]:
    """Return how many slots of a step each pool has: its share, rounded, all slots given out."""
    whole = sum(pool.share for pool in pools)
    exact = [batch_size * pool.share / whole for pool in pools]
    sizes = [int(size) for size in exact]
    by_rest = sorted(range(len(pools)), key=lambda i: sizes[i] - exact[i])
    for i in by_rest[: batch_size - sum(sizes)]:
        sizes[i] += 1
    if min(sizes) < 1 or not all(pool.examples for pool in pools):
        raise GeneratorError(
            f"{len(pools)} pools of examples with shares {[pool.share for pool in pools]} do not "
            f"fit into a batch of {batch_size}. Give a larger batch size or another share."
        )
    return sizes


def drop_at(config: TrainingConfig, draw: float) -> Drop:
    """Return what is dropped for a uniform draw in 0 .. 1."""
    for share, drop in (
        (config.drop_conditions, Drop.CONDITIONS),
        (config.drop_text, Drop.TEXT),
        (config.drop_modality, Drop.MODALITY),
        (config.drop_images, Drop.IMAGES),
        (config.drop_words, Drop.WORDS),
    ):
        if draw < share:
            return drop
        draw -= share
    return Drop.NOTHING


def shown_prompt(prompt: Prompt, drop: Drop) -> Prompt:
    """Return the prompt that is encoded; condition images are dropped from its tensors."""
    if drop is Drop.CONDITIONS:
        return Prompt("", "")
    if drop is Drop.TEXT:
        return replace(prompt, text="", record={})  # which says the same in other words
    if drop is Drop.WORDS:
        return replace(prompt, modality="", text="", record={})
    if drop is Drop.MODALITY:
        return replace(prompt, modality="")
    return prompt


def seeded(*names: object) -> torch.Generator:
    """Return a random source of its own for these names: (1, 12) is not (11, 2)."""
    seed = hashed_seed("training " + " ".join(str(name) for name in names))
    return torch.Generator().manual_seed(seed)
