"""How far raters agree with each other and with themselves."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from sklearn.metrics import cohen_kappa_score


@dataclass(frozen=True)
class Verdict:
    """One rater's value for one image; a repeat is a second look at it by the same rater."""

    rater: str
    image: str
    value: int
    is_repeat: bool = False


@dataclass(frozen=True)
class PairAgreement:
    """Two raters on the images that both rated, or one rater's first and second looks."""

    rater: str
    other: str
    num_images: int
    kappa: float | None  # quadratic weights; None: undefined, both gave one value only
    exact: float  # share of equal values


@dataclass(frozen=True)
class RaterSummary:
    """One rater's habits."""

    rater: str
    num_ratings: int
    mean: float
    severity: float | None  # the others' mean minus this rater's, on shared images; > 0: stricter
    top_share: float  # share of the highest value


def weighted_kappa(
    first: Sequence[int], second: Sequence[int], scale: tuple[int, int]
) -> float | None:
    """Cohen's kappa with quadratic weights on a scale of whole numbers."""
    if not first or len(set(first) | set(second)) == 1:
        return None  # no chance agreement to correct for: 0 / 0
    values = list(range(scale[0], scale[1] + 1))
    return float(cohen_kappa_score(first, second, labels=values, weights="quadratic"))


def between_raters(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> list[PairAgreement]:
    """Compare every two raters on the first looks at the images that both saw."""
    by_rater = _first_looks(verdicts)
    pairs = []
    for rater, other in combinations(sorted(by_rater), 2):
        shared = sorted(by_rater[rater].keys() & by_rater[other].keys())
        if shared:
            first = [by_rater[rater][image] for image in shared]
            second = [by_rater[other][image] for image in shared]
            pairs.append(_compare(rater, other, first, second, scale))
    return pairs


def within_raters(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> list[PairAgreement]:
    """Compare every rater's repeats with the first looks at the same images."""
    verdicts = list(verdicts)
    firsts = _first_looks(verdicts)
    looks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.is_repeat and verdict.image in firsts[verdict.rater]:
            looks[verdict.rater].append((firsts[verdict.rater][verdict.image], verdict.value))
    return [
        _compare(rater, rater, [a for a, _ in pairs], [b for _, b in pairs], scale)
        for rater, pairs in sorted(looks.items())
    ]


def summaries(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> list[RaterSummary]:
    """Return each rater's mean, severity and share of top values, over first looks."""
    by_rater = _first_looks(verdicts)
    by_image: dict[str, dict[str, int]] = defaultdict(dict)
    for rater, values in by_rater.items():
        for image, value in values.items():
            by_image[image][rater] = value
    return [
        RaterSummary(
            rater=rater,
            num_ratings=len(values),
            mean=fmean(values.values()),
            severity=_severity(rater, by_image),
            top_share=fmean(value == scale[1] for value in values.values()),
        )
        for rater, values in sorted(by_rater.items())
        if values
    ]


def _severity(rater: str, by_image: dict[str, dict[str, int]]) -> float | None:
    gaps = [
        fmean(value for other, value in values.items() if other != rater) - values[rater]
        for values in by_image.values()
        if rater in values and len(values) > 1
    ]
    return fmean(gaps) if gaps else None


def _first_looks(verdicts: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    looks: dict[str, dict[str, int]] = defaultdict(dict)
    for verdict in verdicts:
        if not verdict.is_repeat:
            looks[verdict.rater][verdict.image] = verdict.value
    return looks


def _compare(
    rater: str, other: str, first: list[int], second: list[int], scale: tuple[int, int]
) -> PairAgreement:
    return PairAgreement(
        rater=rater,
        other=other,
        num_images=len(first),
        kappa=weighted_kappa(first, second, scale),
        exact=fmean(a == b for a, b in zip(first, second, strict=True)),
    )
