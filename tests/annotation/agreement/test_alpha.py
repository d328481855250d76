import numpy as np
import pytest

from annotation.agreement.alpha import Distance, interval, krippendorff_alpha, nominal, ordinal
from annotation.agreement.table import GradeTable
from tests.annotation.agreement.tables import KRIPPENDORFF, simulated, table_of

ONCE = np.ones((1, 12))


@pytest.mark.parametrize(
    ("distance", "published"), [(nominal, 0.743), (ordinal, 0.815), (interval, 0.849)]
)
def test_krippendorffs_own_example(distance: Distance, published: float) -> None:
    found = krippendorff_alpha(table_of(KRIPPENDORFF), ONCE, distance=distance)
    assert found[0] == pytest.approx(published, abs=5e-4)


def test_a_resample_is_the_figure_of_the_images_it_drew() -> None:
    table = simulated([0.0, 0.5, -0.5], num_images=50, overlap=2)
    drawn = np.random.default_rng(1).integers(50, size=50)
    weights = np.bincount(drawn, minlength=50)[None].astype(float)
    again = GradeTable(table.images, table.raters, table.values, table.grades_IR[drawn])
    expected = krippendorff_alpha(again, np.ones((1, 50)))
    assert krippendorff_alpha(table, weights)[0] == pytest.approx(expected[0])


def test_one_rater_no_overlap_and_one_value_are_undefined() -> None:
    nan = np.nan
    for columns in (
        [(1, 2, 3, 1)],
        [(1, 2, nan, nan), (nan, nan, 3, 1)],
        [(3, 3, 3, 3), (3, 3, 3, 3)],
    ):
        found = krippendorff_alpha(table_of(columns, (1, 2, 3)), np.ones((2, 4)))
        assert np.isnan(found).all()
