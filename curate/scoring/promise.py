"""The promise of a release: so many of its images are good, at so much confidence.

Images are admitted from a threshold on. Each candidate threshold is a hypothesis, "fewer than the
target of what it admits are good", tested with the exact binomial tail on rated images that
were drawn at random. The thresholds are tested in an order fixed before any rating is
looked at, from strict to lenient, each at the full error rate, until one fails: the chance that
any threshold that breaks the promise is accepted is then at most 1 - confidence (learn then test
with fixed-sequence testing: Angelopoulos et al. 2021, arXiv 2110.01052; the tail inverts the
bound of Clopper and Pearson 1934, Biometrika 26:404).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from scipy.stats import beta, binom

from curate.errors import CurateError

MOST_ERRORS_AT_FIRST = 5  # more gain nothing in simulations, and lose strict thresholds


@dataclass(frozen=True)
class Promise:
    """At least `target` of the images are good; `confidence` that this holds."""

    target: float  # share of good images, 0 .. 1
    confidence: float  # 1 - the chance of a promise that is broken

    def __post_init__(self) -> None:
        for name, value in (("target precision", self.target), ("confidence", self.confidence)):
            if not 0 < value < 1:
                raise CurateError(f"A {name} of {value}: it must be above 0 and below 1.")

    def shared_by(self, num: int) -> "Promise":
        """Return the promise that each of `num` must keep for all to hold together (Bonferroni)."""
        return Promise(self.target, 1 - (1 - self.confidence) / num)


@dataclass(frozen=True)
class Rung:
    """One candidate threshold, and what the rated images among those it admits say."""

    threshold: float
    num_images: int  # admitted
    num_rated: int  # of them, drawn for rating
    num_errors: int  # of those, not good or without a rating


def chance_of_so_few(num_errors: int, num_rated: int, promise: Promise) -> float:
    """Return the chance of at most so many errors if only just too few images were good."""
    return float(binom.cdf(num_errors, num_rated, 1 - promise.target))


def lower_bound(num_errors: int, num_rated: int, confidence: float) -> float:
    """Return Clopper and Pearson's lower bound of the share of good images."""
    if num_errors >= num_rated:
        return 0.0
    return float(1 - beta.ppf(confidence, num_errors + 1, num_rated - num_errors))


@cache
def num_needed(promise: Promise, *, errors: int = 0) -> int:
    """Return how many rated images keep the promise with so many errors among them."""
    needed = errors + 1
    while chance_of_so_few(errors, needed, promise) > 1 - promise.confidence:
        needed += 1
    return needed


def keeps(rung: Rung, promise: Promise) -> bool:
    """Tell whether the rated images show that this threshold keeps the promise."""
    tail = chance_of_so_few(rung.num_errors, rung.num_rated, promise)
    return rung.num_rated > 0 and tail <= 1 - promise.confidence


def first_rung(rungs: Sequence[Rung], promise: Promise, *, share_rated: float) -> int:
    """Return where the tests begin: where some errors may be expected to be affordable.

    `rungs` go from strict to lenient. Stricter ones admit too few rated images to show anything,
    and a bad image or two there would end the tests. So many errors (1 to 5) as half of the rated
    images can afford: it depends on how many images are rated, and not on what was said.
    """
    expected = [rung.num_images * share_rated for rung in rungs]
    affordable = [
        needed
        for errors in range(2, MOST_ERRORS_AT_FIRST + 1)
        if (needed := num_needed(promise, errors=errors)) <= max(expected) / 2
    ]
    least = max(affordable, default=num_needed(promise, errors=1))
    enough = [n for n, rated in enumerate(expected) if rated >= least]
    return enough[0] if enough else len(rungs) - 1


def certified(rungs: Sequence[Rung], promise: Promise, *, share_rated: float) -> Rung | None:
    """Return the most lenient threshold that is shown to keep the promise, if there is one."""
    last = None
    for rung in rungs[first_rung(rungs, promise, share_rated=share_rated) :]:
        if not keeps(rung, promise):
            break
        last = rung
    return last
