"""Verdicts as a table of images and raters, and resamples of its images.

Shapes: I images, R raters, V values, S resamples.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CELLS = 4_000_000  # of one block of weights: 32 MB


@dataclass(frozen=True)
class Verdict:
    """One rater's value for one image; a repeat is a second look at it by the same rater."""

    rater: str
    image: str
    value: int
    is_repeat: bool = False


@dataclass(frozen=True)
class GradeTable:
    """First looks: who gave which image which value."""

    images: tuple[str, ...]
    raters: tuple[str, ...]
    values: tuple[int, ...]  # the whole scale, ascending
    grades_IR: Floats  # NaN: not rated

    @property
    def rated_IR(self) -> NDArray[np.bool_]:
        """Return where there is a grade."""
        return ~np.isnan(self.grades_IR)

    def counts_IV(self) -> Floats:
        """Return how often each image got each value."""
        return np.stack([(self.grades_IR == value).sum(1) for value in self.values], 1).astype(
            float
        )


def grade_table(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> GradeTable:
    """Return the first looks as a table, images and raters in order of their names."""
    by_rater = first_looks(verdicts)
    raters = tuple(sorted(by_rater))
    images = tuple(sorted({image for looks in by_rater.values() for image in looks}))
    places = {image: place for place, image in enumerate(images)}
    grades_IR = np.full((len(images), len(raters)), np.nan)
    for column, rater in enumerate(raters):
        for image, value in by_rater[rater].items():
            grades_IR[places[image], column] = value
    return GradeTable(images, raters, tuple(range(scale[0], scale[1] + 1)), grades_IR)


def first_looks(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """Return {rater: {image: value}} without the repeats."""
    looks: dict[str, dict[str, int]] = defaultdict(dict)
    for verdict in verdicts:
        if not verdict.is_repeat:
            looks[verdict.rater][verdict.image] = verdict.value
    return dict(looks)


def resampled_images(num_images: int, resamples: int, *, seed: int = 0) -> Iterator[Floats]:
    """Yield blocks of weights [S, I]; the first row of the first block is all ones.

    Images are drawn with replacement, raters are kept: what is said holds for these raters and
    images like these (Efron 1979, Ann. Stat. 7:1).
    """
    random = np.random.default_rng(seed)
    share = np.full(num_images, 1 / num_images)
    rows = max(1, CELLS // num_images)
    yield np.ones((1, num_images))
    for start in range(0, resamples, rows):
        yield random.multinomial(num_images, share, min(rows, resamples - start)).astype(float)
