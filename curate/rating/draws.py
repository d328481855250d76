"""What a choice of images is, and the plain one: a draw in which all have the same chance."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from db.models import Image


@dataclass(frozen=True)
class Selected:
    """Images chosen, each with the chance that it had: without that no figure carries over."""

    images: Sequence[Image]
    inclusion_probabilities: Sequence[float]  # each above 0, at most 1, in the order of `images`


def draw_at_random(images: Sequence[Image], count: int, seed: int) -> Selected:
    """Return a seeded draw in which every image has the same chance."""
    if count >= len(images):
        return Selected(images, [1.0] * len(images))
    drawn = sorted(random.Random(f"{seed}/draw").sample(range(len(images)), count))
    return Selected([images[place] for place in drawn], [count / len(images)] * count)
