"""Is the chance that `curate rate plan` predicts how often the promise then holds?

    python -m benchmarks.plan_calibration [--studies 800] [--seed 0]

Simulated studies that differ in true quality, severity, pace and mix of classes: 300 to 800 images
of two classes with scores; an image is good when both of its raters say so, each with a severity of
their own. A pilot of 60 to 150 images is rated and timed; from it the plan predicts the chance that
so many further rated images certify the promise, and the hours. Then those images are drawn, rated
and tested as an export does. Prints one JSON object: by fifths of the predicted chance how often it
happened, with 95 % intervals; Brier scores of the plan and of the base rate, and the interval of
their difference (a bootstrap over studies); how far hours were off.

Shapes: N images, P rated images of the pilot, S studies.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.evaluation.intervals import wilson_interval
from curate.rating.budget import _played, _row_of
from curate.rating.config import BudgetOptions
from curate.rating.foresee import TaskTime
from curate.scoring.promise import Promise

Floats = NDArray[np.float64]
FIFTHS = 5
RESAMPLES = 2_000


@dataclass(frozen=True)
class Studied:
    """What was predicted of a study, and what came."""

    predicted: float
    happened: bool
    hours_predicted: float
    hours: float


def _rated(truth_N: Floats, severities: Floats, chance: np.random.Generator) -> NDArray[np.bool_]:
    """Return whether both raters find each image good; `truth_N` in logits."""
    says = [
        chance.random(len(truth_N)) < 1 / (1 + np.exp(severity - truth_N))
        for severity in severities
    ]
    both: NDArray[np.bool_] = np.logical_and(*says)
    return both


def study(seeds: tuple[int, int]) -> Studied:
    """Simulate the study of this seed and number: its pilot, its plan, and what comes of it."""
    chance = np.random.default_rng(seeds)
    num_images, num_pilot = int(chance.integers(300, 801)), int(chance.integers(60, 151))
    severities = chance.normal(0, 0.5, 2)  # logits
    middle, slope = chance.normal(2.5, 1.5), chance.uniform(0.8, 2.0)
    shift, share = chance.normal(0, 1.0), chance.uniform(0.2, 0.8)  # the second class
    num = num_images + num_pilot
    quality = chance.normal(0, 1.2, num)
    truth = middle + slope * quality + shift * (chance.random(num) < share)
    seen = quality + chance.normal(0, 0.5, num)  # the reward model errs
    scores = 1 / (1 + np.exp(-seen))
    good = _rated(truth, severities, chance)
    promise = Promise(float(chance.choice([0.8, 0.9])), float(chance.choice([0.8, 0.9, 0.95])))
    planned = int(chance.integers(40, min(300, num_images // 2)))
    pace, scatter = chance.uniform(6, 40), chance.uniform(0.2, 0.5)  # seconds, log-normal
    seconds = pace * np.exp(chance.normal(0, scatter, 2 * num_pilot))
    pilot: Any = np.stack([scores[:num_pilot], good[:num_pilot]], axis=1)
    options = BudgetOptions(
        target_precision=promise.target,
        confidence=promise.confidence,
        seed=int(chance.integers(2**31)),
    )
    told = TaskTime(float(np.median(seconds)), len(seconds))
    row = _row_of(pilot, scores[num_pilot:], planned, promise, options, told)
    order = np.argsort(-scores[num_pilot:])
    found = _played(scores[num_pilot:][order], good[num_pilot:][order], planned, promise, chance)
    spent = pace * np.exp(chance.normal(0, scatter, row.num_ratings))
    return Studied(
        predicted=row.chance,
        happened=found is not None,
        hours_predicted=row.num_ratings * told.seconds / 3600,
        hours=float(spent.sum()) / 3600,
    )


def figures(studies: list[Studied], chance: np.random.Generator) -> dict[str, Any]:
    """Return calibration by fifth, Brier scores and errors of hours."""
    predicted_S = np.array([one.predicted for one in studies])
    happened_S = np.array([one.happened for one in studies], float)
    fifth_S = np.minimum((predicted_S * FIFTHS).astype(int), FIFTHS - 1)
    fifths = []
    for number in range(FIFTHS):
        own = fifth_S == number
        if not own.any():
            continue
        share = wilson_interval(int(happened_S[own].sum()), int(own.sum()))
        fifths.append(
            {
                "fifth": f"{number / FIFTHS:g} to {(number + 1) / FIFTHS:g}",
                "studies": int(own.sum()),
                "predicted": round(float(predicted_S[own].mean()), 3),
                "happened": round(share.value, 3),
                "interval": [round(share.low, 3), round(share.high, 3)],
            }
        )
    of_plan_S = (predicted_S - happened_S) ** 2
    of_base_S = (happened_S.mean() - happened_S) ** 2
    drawn = chance.integers(len(studies), size=(RESAMPLES, len(studies)))
    gains = (of_base_S - of_plan_S)[drawn].mean(1)
    off_S = np.array([one.hours_predicted / one.hours - 1 for one in studies])
    return {
        "studies": len(studies),
        "fifths": fifths,
        "brier_plan": round(float(of_plan_S.mean()), 4),
        "brier_base_rate": round(float(of_base_S.mean()), 4),
        "brier_gain_interval": [round(float(q), 4) for q in np.quantile(gains, [0.025, 0.975])],
        "hours_off_median": round(float(np.median(off_S)), 3),
        "hours_within_20_percent": round(float((np.abs(off_S) <= 0.2).mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ProcessPoolExecutor(2) as workers:
        numbers = [(options.seed, number) for number in range(options.studies)]
        studies = list(workers.map(study, numbers, chunksize=4))
    print(json.dumps(figures(studies, np.random.default_rng(options.seed)), indent=2))


if __name__ == "__main__":
    main()
