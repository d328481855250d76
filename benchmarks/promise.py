"""How often a release's promise is broken, and what keeping it costs.

    python benchmarks/promise.py

A pool of images, each good or not, gets scores; some are drawn at random and rated; a threshold is
certified from them, or taken naively (the lowest at which the rated images alone look good enough).
What leaves is known here, so that a broken promise is seen. Repeated 1,000 times a setting.
No generator, no reward model and no rater takes part: only `curate.scoring.promise`,
as the export uses it.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.evaluation.intervals import wilson_interval
from curate.release.promised import NUM_RUNGS
from curate.scoring.promise import Promise, Rung, certified

PROMISE = Promise(0.95, 0.95)
SCORES = {  # how the score relates to an image's chance of being good
    "calibrated": lambda chance, random: chance,
    "overconfident": lambda chance, random: chance**0.3,
    "noisy": lambda chance, random: _noisy(chance, random, 1.5),
    "worthless": lambda chance, random: random.random(len(chance)),
}
POOLS = {"84 % good": (2.5, 0.5), "73 % good": (1.2, 0.45), "94.5 % good": (18.9, 1.1)}


@dataclass(frozen=True)
class Pool:
    """Images best score first."""

    scores: NDArray[np.float64]
    good: NDArray[np.bool_]
    rated: NDArray[np.bool_]


@dataclass(frozen=True)
class Left:
    """What left one pool."""

    broken: bool  # fewer than the target were good
    share_of_good: float  # of the pool's good images, those that left


def _noisy(
    chance: NDArray[np.float64], random: np.random.Generator, deviation: float
) -> NDArray[np.float64]:
    odds = np.log(chance + 1e-12) - np.log1p(-chance + 1e-12)
    scores: NDArray[np.float64] = 1 / (1 + np.exp(-odds - random.normal(0, deviation, len(odds))))
    return scores


def draw_pool(
    ability: tuple[float, float], score: Callable[..., NDArray[np.float64]], size: int,
    num_rated: int, random: np.random.Generator,
) -> Pool:  # fmt: skip
    chance = random.beta(*ability, size)
    scores = score(chance, random)
    order = np.argsort(-scores, kind="stable")
    rated = np.zeros(size, bool)
    rated[random.choice(size, num_rated, replace=False)] = True
    return Pool(scores[order], (random.random(size) < chance)[order], rated)


def rungs_of(pool: Pool) -> list[Rung]:
    size = len(pool.scores)
    tops = [-(-size * n // NUM_RUNGS) for n in range(1, NUM_RUNGS + 1)]
    num_rated = np.cumsum(pool.rated)
    num_errors = np.cumsum(pool.rated & ~pool.good)
    return [
        Rung(float(pool.scores[top - 1]), top, int(num_rated[top - 1]), int(num_errors[top - 1]))
        for top in tops
    ]


def naive(rungs: list[Rung]) -> Rung | None:
    passing = [
        rung
        for rung in rungs
        if rung.num_rated and 1 - rung.num_errors / rung.num_rated >= PROMISE.target
    ]
    return passing[-1] if passing else None


def left(pool: Pool, rung: Rung | None) -> Left:
    """What is admitted leaves, but for the images that were found not good."""
    if rung is None:
        return Left(broken=False, share_of_good=0.0)
    leaves = np.arange(len(pool.good)) < rung.num_images
    leaves &= ~(pool.rated & ~pool.good)
    return Left(
        broken=bool(pool.good[leaves].mean() < PROMISE.target),
        share_of_good=float(pool.good[leaves].sum() / pool.good.sum()),
    )


def settings() -> Iterator[tuple[str, str, int]]:
    for ability in POOLS:
        for score in SCORES:
            for num_rated in (150, 300, 600):
                yield ability, score, num_rated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--size", type=int, default=5000, help="images in a pool")
    options = parser.parse_args()
    print(
        "| pool | score | rated | certified in | broken (95 % interval) | good images kept ", end=""
    )
    print("| naive: broken | naive: kept |")
    print("|---|---|---|---|---|---|---|---|")
    worst = 0.0
    for number, (ability, score, num_rated) in enumerate(settings()):
        random = np.random.default_rng([0, number])
        promised, naively = [], []
        for _ in range(options.repetitions):
            pool = draw_pool(POOLS[ability], SCORES[score], options.size, num_rated, random)
            rungs = rungs_of(pool)
            share = num_rated / options.size
            promised.append(left(pool, certified(rungs, PROMISE, share_rated=share)))
            naively.append(left(pool, naive(rungs)))
        broken = wilson_interval(sum(one.broken for one in promised), len(promised))
        worst = max(worst, broken.low)
        print(
            f"| {ability} | {score} | {num_rated} "
            f"| {100 * np.mean([one.share_of_good > 0 for one in promised]):.0f} % "
            f"| {100 * broken.value:.1f} % ({100 * broken.low:.1f}-{100 * broken.high:.1f}) "
            f"| {100 * np.mean([one.share_of_good for one in promised]):.0f} % "
            f"| {100 * np.mean([one.broken for one in naively]):.0f} % "
            f"| {100 * np.mean([one.share_of_good for one in naively]):.0f} % |"
        )
    if worst > 1 - PROMISE.confidence:
        sys.exit("A promise is broken more often than its confidence allows.")


if __name__ == "__main__":
    main()
