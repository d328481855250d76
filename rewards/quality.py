"""How good scores are, against ratings they were not fitted to.

Shapes: R ratings, V rating values. Grades count from 0 (worst) up; scores are probabilities of the
top grade.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

CALIBRATION_BINS = 10
TABLES = ("reliability", "groups", "known_prompts", "learning_curve", "criteria")

Scores = NDArray[np.float64]
Grades = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What held-out ratings say of scores. None: too few kinds of ratings to say it."""

    num_ratings: int
    num_images: int
    auc_top_or_bottom: float | None  # a best-rated image scores above a worst-rated one (3 vs 1)
    auc_top_or_rest: float | None  # ... above one that is not best-rated
    spearman: float | None  # rank correlation of scores and ratings
    mean_by_value: dict[str, float]  # rating -> mean score of the images rated so
    ece: float  # expected calibration error: mean gap of promised and found share of top ratings
    auc_images_shuffled: float | None  # top or rest, each prompt with another image: near 0.5
    auc_prompts_shuffled: float | None  # top or rest, each image with another prompt
    ordinal_accuracy: float = 0.0  # share of ratings that are the likeliest value
    kappa: float | None = None  # quadratic weights, likeliest value against each rating
    kappa_of_raters: float | None = None  # ... of two raters of one image: the ceiling
    reliability: Sequence[Mapping[str, float]] = ()  # promised and found share of top, by bin
    groups: Sequence[Mapping[str, Any]] = ()  # the same figures by modality and label
    known_prompts: Mapping[str, Any] = field(default_factory=dict)  # new images of known prompts
    learning_curve: Sequence[Mapping[str, Any]] = ()  # ... by share of the images learned from
    criteria: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by question

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)

    def by_kind(self) -> dict[str, Any]:
        """Return the single figures as "held_out", and every table under its own name."""
        values = self.to_json()
        tables = {name: values.pop(name) for name in TABLES}
        return {"held_out": values, **tables}


def auc(scores_R: Scores, is_good_R: NDArray[np.bool_]) -> float | None:
    """Chance that a good one scores above another; None without both kinds."""
    if is_good_R.all() or not is_good_R.any():
        return None
    return float(roc_auc_score(is_good_R, scores_R))


def auc_top_or_bottom(scores_R: Scores, grade_R: Grades, top: int) -> float | None:
    """AUC of best-rated against worst-rated images; the grades between stay out."""
    clear_R = (grade_R == 0) | (grade_R == top)
    return auc(scores_R[clear_R], grade_R[clear_R] == top)


def spearman(scores_R: Scores, grade_R: Grades) -> float | None:
    """Rank correlation; None where one side is constant."""
    if not len(scores_R) or np.ptp(scores_R) == 0 or np.ptp(grade_R) == 0:
        return None
    return float(spearmanr(scores_R, grade_R).statistic)


def mean_by_grade(scores_R: Scores, grade_R: Grades) -> dict[int, float]:
    """Return {grade: mean score}."""
    return {int(grade): float(scores_R[grade_R == grade].mean()) for grade in np.unique(grade_R)}


def kappa_of_grades(one_R: Grades, other_R: Grades, num_values: int) -> float | None:
    """Cohen's kappa with quadratic weights, once and whole; None where both never vary.

    `annotation.agreement.kappa.weighted_kappa` is the same figure for many bootstrap samples at
    once; this folder knows no other, so scikit-learn computes it here. A test compares the two.
    """
    if not len(one_R) or np.ptp(one_R) == 0 and np.ptp(other_R) == 0:
        return None
    grades = list(range(num_values))
    return float(cohen_kappa_score(one_R, other_R, weights="quadratic", labels=grades))


def kappa_of_raters(
    items_R: Grades, raters_R: Sequence[str], grade_R: Grades, num_values: int
) -> float | None:
    """Weighted kappa over all pairs of ratings of one item by different raters; None without any.

    Each pair counts in both orders, so that no rater is the reference.
    """
    by_item: dict[int, list[tuple[str, int]]] = {}
    for item, rater, grade in zip(items_R.tolist(), raters_R, grade_R.tolist(), strict=True):
        by_item.setdefault(item, []).append((rater, grade))
    pairs = [
        (one, other)
        for seen in by_item.values()
        for (first, one), (second, other) in combinations(seen, 2)
        if first != second
    ]
    if not pairs:
        return None
    both = np.array(pairs + [(other, one) for one, other in pairs])
    return kappa_of_grades(both[:, 0], both[:, 1], num_values)


def reliability_bins(scores_R: Scores, is_top_R: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return the mean promised and found share of top ratings in each of ten bins that has any."""
    bin_R = np.minimum((scores_R * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "promised": float(scores_R[bin_R == each].mean()),
            "found": float(is_top_R[bin_R == each].mean()),
            "num": int((bin_R == each).sum()),
        }
        for each in np.unique(bin_R)
    ]


def calibration_error(scores_R: Scores, is_top_R: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins = reliability_bins(scores_R, is_top_R)
    gaps = [each["num"] * abs(each["promised"] - each["found"]) for each in bins]
    return float(np.sum(gaps) / max(len(scores_R), 1))
