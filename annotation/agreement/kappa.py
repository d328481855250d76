"""Cohen's kappa with quadratic weights, and plain equality, between two columns of grades.

Cohen 1968, Psychol. Bull. 70:213. Shapes: I images, V values, S resamples.
"""

import numpy as np

from annotation.agreement.table import Floats


def weighted_kappa(
    first_I: Floats, second_I: Floats, values: tuple[int, ...], weights_SI: Floats
) -> Floats:
    """Return [S]: 1 = equal, 0 = as by chance; images that either did not rate count nothing.

    NaN where both gave one and the same value only: there is no chance agreement to correct for.
    """
    first_IV = np.stack([first_I == value for value in values], 1)
    second_IV = np.stack([second_I == value for value in values], 1)
    cells_IVV = (first_IV[:, :, None] & second_IV[:, None, :]).astype(float)
    shape = (len(weights_SI), len(values), len(values))
    table_SVV = (weights_SI @ cells_IVV.reshape(len(first_I), -1)).reshape(shape)
    steps = np.array(values, float)
    gap_VV = (steps[:, None] - steps[None, :]) ** 2
    total_S = table_SVV.sum((1, 2))
    expected_SVV = table_SVV.sum(2)[:, :, None] * table_SVV.sum(1)[:, None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_S = (table_SVV * gap_VV).sum((1, 2)) * total_S
        return np.asarray(1 - observed_S / (expected_SVV * gap_VV).sum((1, 2)))


def equal_share(first_I: Floats, second_I: Floats, weights_SI: Floats) -> Floats:
    """Return [S], the share of equal grades among images that both rated."""
    both_I = ~np.isnan(first_I) & ~np.isnan(second_I)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights_SI @ (first_I == second_I)) / (weights_SI @ both_I))
