import numpy as np
import pytest

from annotation.agreement.icc import intraclass_correlations
from annotation.agreement.table import GradeTable
from tests.annotation.agreement.tables import SHROUT_FLEISS, table_of


def test_shrout_and_fleiss_own_example() -> None:
    """Their ICC(2,1) = .29, ICC(3,1) = .71 and ICC(2,4) = .62, to the two figures they print."""
    found = intraclass_correlations(table_of(SHROUT_FLEISS), np.ones((1, 6)))
    assert found.agreement[0] == pytest.approx(0.29, abs=0.005)
    assert found.consistency[0] == pytest.approx(0.71, abs=0.006)  # 0.7148
    assert found.agreement_of_mean[0] == pytest.approx(0.62, abs=0.005)


def planted(overlap: int, *, seed: int = 0, num_images: int = 3_000) -> GradeTable:
    """Variances: images 1, raters 0.5 (exactly, as these five happen to be), rest 0.25."""
    random = np.random.default_rng(seed)
    raters = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    raters *= np.sqrt(0.5 / raters.var(ddof=1))
    grades = random.normal(0, 1, (num_images, 1)) + raters
    grades += random.normal(0, 0.5, grades.shape)
    for row in grades:
        row[random.permutation(5)[overlap:]] = np.nan
    names = tuple(str(n) for n in range(num_images))
    return GradeTable(names, tuple("abcde"), (1, 2, 3), grades)


@pytest.mark.parametrize("overlap", [5, 3, 2])
def test_planted_variances_are_found_with_missing_grades_too(overlap: int) -> None:
    found = intraclass_correlations(planted(overlap), np.ones((1, 3_000)))
    assert found.agreement[0] == pytest.approx(1 / 1.75, abs=0.02)
    assert found.consistency[0] == pytest.approx(1 / 1.25, abs=0.02)
    assert found.agreement_of_mean[0] == pytest.approx(1 / (1 + 0.75 / overlap), abs=0.02)


def test_a_resample_is_the_figure_of_the_images_it_drew() -> None:
    table = planted(3, num_images=60)
    drawn = np.random.default_rng(1).integers(60, size=60)
    weights = np.bincount(drawn, minlength=60)[None].astype(float)
    again = GradeTable(table.images, table.raters, table.values, table.grades_IR[drawn])
    expected = intraclass_correlations(again, np.ones((1, 60)))
    assert intraclass_correlations(table, weights).agreement[0] == pytest.approx(
        expected.agreement[0]
    )


def test_one_rater_no_overlap_and_one_value_are_undefined() -> None:
    nan = np.nan
    for columns in (
        [(1, 2, 3, 1)],
        [(1, 2, nan, nan), (nan, nan, 3, 1)],
        [(3, 3, 3, 3), (3, 3, 3, 3)],
    ):
        found = intraclass_correlations(table_of(columns), np.ones((2, 4)))
        assert np.isnan(found.agreement).all() and np.isnan(found.consistency).all()
