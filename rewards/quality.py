"""How good scores are, against ratings they were not fitted to.

Shapes: R ratings. Grades count from 0 (worst) up; scores are probabilities of the top grade.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

CALIBRATION_BINS = 10

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

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a row."""
        return asdict(self)


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
    if np.ptp(scores_R) == 0 or np.ptp(grade_R) == 0:
        return None
    return float(spearmanr(scores_R, grade_R).statistic)


def mean_by_grade(scores_R: Scores, grade_R: Grades) -> dict[int, float]:
    """Return {grade: mean score}."""
    return {int(grade): float(scores_R[grade_R == grade].mean()) for grade in np.unique(grade_R)}


def calibration_error(scores_R: Scores, is_top_R: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bin_R = np.minimum((scores_R * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        (bin_R == each).mean()
        * abs(scores_R[bin_R == each].mean() - is_top_R[bin_R == each].mean())
        for each in np.unique(bin_R)
    ]
    return float(np.sum(gaps))
