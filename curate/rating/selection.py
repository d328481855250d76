"""Which images people are asked about: strategies by name, each with its inclusion probabilities.

A strategy is `(ws, images, count, seed) -> Selected`. It must say with what probability it chose
each image: without that no figure from its campaign could be carried over to all images.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from curate.errors import CurateError
from curate.workspace import Workspace
from db.models import Image


@dataclass(frozen=True)
class Selected:
    """What a strategy chose."""

    images: Sequence[Image]
    inclusion_probabilities: Sequence[float]  # each above 0, at most 1, in the order of `images`


Strategy = Callable[[Workspace, Sequence[Image], int, int], Selected]


def strategies() -> dict[str, Strategy]:
    """Return the strategies by name."""
    known: dict[str, Strategy] = {"all": draw_at_random, "version": draw_at_random}
    if find_spec("curate.rating.active") is not None:
        known["active"] = _active
    return known


def select(
    ws: Workspace, images: Sequence[Image], *, strategy: str, count: int | None, seed: int
) -> Selected:
    """Choose `count` of the images (all, without a count) by the named strategy."""
    known = strategies()
    if strategy not in known:
        raise CurateError(f"--select {strategy}; known: {', '.join(sorted(known))}.")
    return known[strategy](ws, images, len(images) if count is None else count, seed)


def draw_at_random(ws: Workspace, images: Sequence[Image], count: int, seed: int) -> Selected:
    """Return a seeded draw in which every image has the same chance."""
    if count >= len(images):
        return Selected(images, [1.0] * len(images))
    drawn = sorted(random.Random(f"{seed}/draw").sample(range(len(images)), count))
    return Selected([images[place] for place in drawn], [count / len(images)] * count)


def _active(ws: Workspace, images: Sequence[Image], count: int, seed: int) -> Selected:
    chosen = import_module("curate.rating.active").select_active(ws, images, count=count, seed=seed)
    return Selected(chosen.images, chosen.inclusion_probabilities)
