import numpy as np
import pytest

from annotation.agreement.kappa import weighted_kappa
from rewards.quality import kappa_of_grades


@pytest.mark.parametrize("seed", range(3))
def test_the_kappa_of_grades_is_that_of_raters(seed: int) -> None:
    chance = np.random.default_rng(seed)
    one_R = chance.integers(0, 4, 60)
    other_R = np.clip(one_R + chance.integers(-1, 2, 60), 0, 3)
    columns = one_R.astype(float), other_R.astype(float)
    [of_raters] = weighted_kappa(*columns, (0, 1, 2, 3), np.ones((1, 60)))
    assert kappa_of_grades(one_R, other_R, 4) == pytest.approx(of_raters)


def test_no_kappa_where_nothing_varies() -> None:
    same_R = np.full(6, 2)
    assert kappa_of_grades(same_R, same_R, 3) is None
