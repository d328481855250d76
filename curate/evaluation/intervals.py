"""Figures with their uncertainty. In shapes: P prompts, R resamples."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A figure, its confidence interval and how many things it was measured on."""

    value: float
    low: float
    high: float
    num: int

    def is_rise(self, tolerance: float) -> bool:
        """Tell whether it lies above 0, and a fall of more than `tolerance` is excluded."""
        return self.value > 0 and self.low > -tolerance

    def excludes_zero(self) -> bool:
        """Tell whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def wilson_interval(successes: int, total: int, *, confidence: float = 0.95) -> Estimate:
    """Return a share with Wilson's score interval (Wilson 1927, JASA 22:209).

    It stays inside 0..1 and keeps a width at 0 and at `total`, where the normal interval has none.
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"{successes} of {total} is no share")
    share = successes / total
    z = normal_quantile(confidence)
    shrink = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / shrink
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / shrink
    # at 0 and 1 rounding alone would put the share a hair outside its own interval
    low, high = min(share, centre - half), max(share, centre + half)
    return Estimate(share, float(max(0.0, low)), float(min(1.0, high)), total)


def bootstrap_mean(
    values_P: ArrayLike, *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Estimate:
    """Return the mean over prompts with the percentile bootstrap (Efron 1979, Ann. Stat. 7:1).

    Prompts are drawn, not images: images of one prompt are alike, and counting them as
    independent would make the interval too narrow.
    """
    values = np.asarray(values_P, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"one finite value a prompt is needed, found shape {values.shape}")
    means_R = _resampled_means(values, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_R, [tail, 1 - tail])
    return Estimate(float(values.mean()), float(low), float(high), values.size)


def paired_bootstrap(
    before_P: ArrayLike,
    after_P: ArrayLike,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return the mean of `after - before` over prompts with its bootstrap interval.

    Entry i of both belongs to prompt i, measured on the same seeds, so that what prompts and
    noise share cancels (Koehn 2004, EMNLP, paired bootstrap).
    """
    before, after = np.asarray(before_P, np.float64), np.asarray(after_P, np.float64)
    if before.shape != after.shape:
        raise ValueError(f"pairs needed, found shapes {before.shape} and {after.shape}")
    return bootstrap_mean(after - before, resamples=resamples, seed=seed, confidence=confidence)


def paired_t(before_P: ArrayLike, after_P: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Return the mean of `after - before` of shares with Student's interval for paired samples.

    For decisions on few prompts, where the bootstrap's interval is too narrow: of 20 unchanged
    prompts its lower end is above 0 in 6 % where 5 % are meant. One prompt has none: -1 to 1.
    """
    before, after = np.asarray(before_P, np.float64), np.asarray(after_P, np.float64)
    if before.shape != after.shape or before.ndim != 1 or not before.size:
        raise ValueError(f"pairs needed, found shapes {before.shape} and {after.shape}")
    change_P, num = after - before, before.size
    value = float(change_P.mean())
    if num == 1:
        return Estimate(value, -1.0, 1.0, num)
    quantile = float(stats.t.ppf(0.5 + confidence / 2, num - 1))
    half = quantile * float(change_P.std(ddof=1)) / math.sqrt(num)
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), num)


def normal_quantile(confidence: float) -> float:
    """Return z of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _resampled_means(
    values_P: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Means of `resamples` draws with replacement, a block at a time to bound the memory."""
    block = max(1, 2_000_000 // values_P.size)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    return np.concatenate(
        [values_P[random.integers(values_P.size, size=(n, values_P.size))].mean(1) for n in sizes]
    )


def difference_of_shares(
    first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95
) -> Estimate:
    """Return the first share minus the second, each as (successes, total), with its interval.

    Newcombe 1998 (Statist. Med. 17:873), method 10: from the two Wilson intervals.
    """
    one = wilson_interval(*first, confidence=confidence)
    other = wilson_interval(*second, confidence=confidence)
    value = one.value - other.value
    below = np.hypot(one.value - one.low, other.high - other.value)
    above = np.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, float(value - below), float(value + above), first[1])
