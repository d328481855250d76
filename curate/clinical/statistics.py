"""What speaks for an effect: paired differences, placebos, a smallest effect that counts.

At equal noise a paired test finds something nearly always: a network that was told something else
makes something else. An effect is what is also larger than fields that were drawn by lot, and than
what is worth knowing. Shapes: N cases, K placebos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA = 0.05  # after Holm's correction over all tests of a run
PLACEBO_QUANTILE = 0.95
FEWEST_PLACEBOS = 20  # for a verdict of "effect"
FEWEST_CASES = 5

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """One comparison: a field's value b against a, in one region of the mask."""

    field: str
    a: Any
    b: Any
    region: str


@dataclass(frozen=True)
class Effect:
    """What was found of one comparison. Differences are in the image's unit, b minus a."""

    test: Contrast
    num: int  # cases
    mean: float
    low: float  # of the 95 % interval of the mean over cases, Student's t
    high: float
    size: float  # Cohen's d of paired differences; infinite where all are one number
    p: float  # paired t test
    p_holm: float  # corrected over all comparisons of the run
    placebo: float  # 95th percentile of placebos' |mean| in this region; NaN where there is none
    agree: float  # share of cases whose difference has the mean's sign
    why_not: str  # why it is no effect; empty for one

    @property
    def is_found(self) -> bool:
        """Say whether there is an effect."""
        return not self.why_not

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, float) and not np.isfinite(value):
                values[name] = None
        return values | {"verdict": "effect" if self.is_found else "no effect found"}


def effects_of(
    differences: Mapping[Contrast, Values], placebos: Mapping[str, Values], *, smallest: float
) -> list[Effect]:
    """Return what was found, in order. `placebos` are means [K] over cases, by region.

    A case whose mask lacks a region is NaN there and does not count.
    """
    several = {test: values[~np.isnan(values)] for test, values in differences.items()}
    ps = [_paired_p(values) for values in several.values()]
    found = []
    for (test, values), p, p_holm in zip(several.items(), ps, _holm(ps), strict=True):
        mean, spread = float(np.mean(values)) if len(values) else float("nan"), _spread(values)
        half = _half_width(values)
        lots = np.abs(placebos.get(test.region, np.array([])))
        lots = lots[~np.isnan(lots)]
        bound = float(np.quantile(lots, PLACEBO_QUANTILE)) if len(lots) else float("nan")
        reasons = (
            (len(values) < FEWEST_CASES, f"{len(values)} cases, fewer than {FEWEST_CASES}"),
            (not p_holm < ALPHA, f"corrected p {p_holm:.2g}"),
            (not abs(mean) >= smallest, f"smaller than {smallest:g}"),
            (len(lots) < FEWEST_PLACEBOS, f"{len(lots)} placebos, fewer than {FEWEST_PLACEBOS}"),
            (not abs(mean) > bound, f"placebo fields reach {bound:.2g}"),
        )
        found.append(
            Effect(
                test,
                len(values),
                mean,
                mean - half,
                mean + half,
                mean / spread if spread else float(np.inf if mean else 0.0),
                p,
                p_holm,
                bound,
                float(np.mean(np.sign(values) == np.sign(mean))) if len(values) else 0.0,
                next((reason for holds, reason in reasons if holds), ""),
            )
        )
    return found


def _paired_p(values: Values) -> float:
    """Return the two-sided p of a paired t test; 1 where there is nothing to test."""
    if len(values) < 2 or not values.any():
        return 1.0
    if not _spread(values):
        return 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def _spread(values: Values) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _half_width(values: Values) -> float:
    """Return half of the mean's 95 % interval, Student's t; infinite for fewer than two values."""
    if len(values) < 2:
        return float("inf")
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return float(quantile * _spread(values) / np.sqrt(len(values)))


def _holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's step-down (Holm 1979, Scand. J. Stat. 6:65)."""
    order = np.argsort(ps, kind="stable")
    corrected, least = np.ones(len(ps)), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return [float(p) for p in corrected]


@dataclass(frozen=True)
class Dose:
    """Whether more of a field does more, in one region: values from the least to the most."""

    field: str
    region: str
    values: tuple[Any, ...]
    means: tuple[float, ...]  # against the first value
    in_order: float  # share of cases in which each step goes the same way
    slope: float | None  # per unit of a number, least squares over cases
    slope_low: float | None
    slope_high: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def dose_of(field: str, region: str, values: Sequence[Any], differences_NV: Values) -> Dose:
    """Return the dose of three or more values; `differences_NV` are against the first value."""
    kept = differences_NV[~np.isnan(differences_NV).any(axis=1)]
    means = kept.mean(axis=0)
    steps = np.diff(kept, axis=1) * np.sign(means[-1])
    numbers = all(isinstance(value, int | float) for value in values)
    slope = low = high = None
    if numbers and len(kept) > 1:
        x = np.array(values, float) - np.mean(values)
        slopes = kept @ x / (x @ x)
        half = _half_width(slopes)
        slope = float(slopes.mean())
        low, high = slope - half, slope + half
    in_order = float((steps > 0).all(axis=1).mean()) if len(kept) else 0.0
    return Dose(field, region, tuple(values), tuple(map(float, means)), in_order, slope, low, high)
