"""Krippendorff's alpha for any number of raters and any pattern of missing grades.

Krippendorff, Content Analysis, 4th edition 2019, chapter 12. Written here because the library of
that name is under the GPL. Shapes: I images, V values, S resamples.
"""

from collections.abc import Callable

import numpy as np

from annotation.agreement.table import Floats, GradeTable

Distance = Callable[[Floats, Floats], Floats]  # values [V], their numbers [S, V] -> [S or 1, V, V]


def ordinal(values_V: Floats, numbers_SV: Floats) -> Floats:
    """Squared number of grades between two values, half of each included."""
    upto_SV = np.cumsum(numbers_SV, 1)
    middle_SV = upto_SV - numbers_SV / 2
    return np.asarray((middle_SV[:, :, None] - middle_SV[:, None, :]) ** 2)


def interval(values_V: Floats, numbers_SV: Floats) -> Floats:
    """Squared difference of the values."""
    return np.asarray((values_V[None, :, None] - values_V[None, None, :]) ** 2)


def nominal(values_V: Floats, numbers_SV: Floats) -> Floats:
    """1 for different values."""
    return np.asarray((values_V[None, :, None] != values_V[None, None, :]).astype(float))


def krippendorff_alpha(
    table: GradeTable, weights_SI: Floats, *, distance: Distance = ordinal
) -> Floats:
    """Return [S]: 1 = agreement, 0 = as by chance, below 0 = worse.

    NaN where no image has two grades, or all grades are one value.
    """
    counts_IV = table.counts_IV()
    num_I = counts_IV.sum(1)
    paired = num_I > 1
    pairs_IVV = counts_IV[:, :, None] * counts_IV[:, None, :]
    places = np.arange(counts_IV.shape[1])
    pairs_IVV[:, places, places] -= counts_IV  # no grade is a pair with itself
    pairs_IVV[~paired] = 0
    pairs_IVV[paired] /= (num_I[paired] - 1)[:, None, None]
    shape = (len(weights_SI), len(places), len(places))
    observed_SVV = (weights_SI @ pairs_IVV.reshape(len(num_I), -1)).reshape(shape)
    numbers_SV = observed_SVV.sum(2)
    distance_SVV = distance(np.array(table.values, float), numbers_SV)
    chance_SVV = numbers_SV[:, :, None] * numbers_SV[:, None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        found_S = (observed_SVV * distance_SVV).sum((1, 2)) * (numbers_SV.sum(1) - 1)
        return np.asarray(1 - found_S / (chance_SVV * distance_SVV).sum((1, 2)))
