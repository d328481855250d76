"""Every two raters side by side, every rater with itself, and each one's habits."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from annotation.agreement.kappa import weighted_kappa
from annotation.agreement.table import Verdict, first_looks


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


def between_raters(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> list[PairAgreement]:
    """Compare every two raters on the first looks at the images that both saw."""
    by_rater = first_looks(verdicts)
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
    return [
        _compare(rater, rater, [a for a, _ in pairs], [b for _, b in pairs], scale)
        for rater, pairs in sorted(second_looks(verdicts).items())
    ]


def second_looks(verdicts: Iterable[Verdict]) -> dict[str, list[tuple[int, int]]]:
    """Return {rater: (first value, value of a later look) of every repeat}."""
    verdicts = list(verdicts)
    firsts = first_looks(verdicts)
    looks: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for verdict in verdicts:
        first = firsts.get(verdict.rater, {}).get(verdict.image)
        if verdict.is_repeat and first is not None:
            looks[verdict.rater].append((first, verdict.value))
    return dict(looks)


def summaries(verdicts: Iterable[Verdict], scale: tuple[int, int]) -> list[RaterSummary]:
    """Return each rater's mean, severity and share of top values, over first looks."""
    by_rater = first_looks(verdicts)
    by_image: dict[str, dict[str, int]] = defaultdict(dict)
    for rater, values in by_rater.items():
        for image, value in values.items():
            by_image[image][rater] = value
    found = []
    for rater, values in sorted(by_rater.items()):
        gaps = [
            fmean(given for other, given in by_image[image].items() if other != rater) - value
            for image, value in values.items()
            if len(by_image[image]) > 1
        ]
        found.append(
            RaterSummary(
                rater=rater,
                num_ratings=len(values),
                mean=fmean(values.values()),
                severity=fmean(gaps) if gaps else None,
                top_share=fmean(value == scale[1] for value in values.values()),
            )
        )
    return found


def _compare(
    rater: str, other: str, first: Sequence[int], second: Sequence[int], scale: tuple[int, int]
) -> PairAgreement:
    columns = np.array(first, float), np.array(second, float)
    values = tuple(range(scale[0], scale[1] + 1))
    kappa = float(weighted_kappa(*columns, values, np.ones((1, len(first))))[0])
    return PairAgreement(
        rater=rater,
        other=other,
        num_images=len(first),
        kappa=None if np.isnan(kappa) else kappa,
        exact=fmean(a == b for a, b in zip(first, second, strict=True)),
    )
