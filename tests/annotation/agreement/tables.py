"""Tables of grades from lists, and simulated ones with known raters."""

from collections.abc import Sequence

import numpy as np

from annotation.agreement.table import GradeTable

_ = np.nan


def table_of(columns: Sequence[Sequence[float]], values: Sequence[int] | None = None) -> GradeTable:
    """One list a rater, one entry an image, NaN where it was not rated."""
    grades_IR = np.array(columns, float).T
    grades_IR = grades_IR[~np.isnan(grades_IR).all(1)]
    low, high = int(np.nanmin(grades_IR)), int(np.nanmax(grades_IR))
    return GradeTable(
        images=tuple(f"image {n}" for n in range(len(grades_IR))),
        raters=tuple(f"rater {n}" for n in range(grades_IR.shape[1])),
        values=tuple(values or range(low, high + 1)),
        grades_IR=grades_IR,
    )


def simulated(
    severities: Sequence[float],
    *,
    steps: Sequence[float] = (-1.0, 1.0),
    spread: float = 1.5,
    num_images: int = 600,
    overlap: int | None = None,
    noise: Sequence[float] | None = None,
    seed: int = 0,
) -> GradeTable:
    """Grades 1, 2, ... as the rating-scale model has them; `noise` divides a rater's logits."""
    random = np.random.default_rng(seed)
    quality_I = random.normal(0, spread, num_images)
    grades_IR = np.full((num_images, len(severities)), np.nan)
    step_V = np.concatenate([[0.0], np.cumsum(steps)])
    for image in range(num_images):
        raters = random.permutation(len(severities))[: overlap or len(severities)]
        for rater in raters:
            logit_V = np.arange(len(step_V)) * (quality_I[image] - severities[rater]) - step_V
            p_V = np.exp(logit_V / (noise[rater] if noise else 1.0))
            grades_IR[image, rater] = 1 + random.choice(len(step_V), p=p_V / p_V.sum())
    return GradeTable(
        images=tuple(f"image {n:04d}" for n in range(num_images)),
        raters=tuple(f"rater {n}" for n in range(len(severities))),
        values=tuple(range(1, len(step_V) + 1)),
        grades_IR=grades_IR,
    )


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 4 observers, 12 units.
KRIPPENDORFF = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3),
    (_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _),
)
# Shrout and Fleiss 1979, Psychol. Bull. 86:420, table 2: 4 judges, 6 targets.
SHROUT_FLEISS = (
    (9, 6, 8, 7, 10, 6),
    (2, 1, 4, 1, 5, 2),
    (5, 3, 6, 2, 6, 4),
    (8, 2, 8, 6, 9, 7),
)
