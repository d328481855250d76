"""What is called an effect: not what a paired test alone would find."""

import numpy as np
import pytest
from scipy import stats

from curate.clinical.statistics import Contrast, _holm, dose_of, effects_of

Lungs = Contrast("smoking", "never", "current", "label 2")


def lots(largest: float, count: int = 20) -> dict[str, np.ndarray]:
    """Return placebos whose means reach up to `largest`."""
    return {"label 2": np.linspace(-largest, largest, count)}


def test_holms_correction_is_that_of_the_textbook() -> None:
    # by hand: 4 * .005, 3 * .01, then never less than before
    assert _holm([0.01, 0.04, 0.005, 0.03]) == pytest.approx([0.03, 0.06, 0.02, 0.06])
    assert _holm([0.9, 0.8]) == [1.0, 1.0] and _holm([]) == []


def test_an_effects_figures_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(40, 20, 16)
    [found] = effects_of({Lungs: values}, lots(3), smallest=5)
    interval = stats.t.interval(0.95, 15, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(interval)
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert found.size == pytest.approx(values.mean() / values.std(ddof=1))
    assert found.is_found and found.num == 16


@pytest.mark.parametrize(
    ("values", "placebos", "why_not"),
    [
        (np.full(16, 0.5) + np.arange(16) * 1e-3, lots(0.1), "smaller than 5"),  # p is tiny
        (np.random.default_rng(0).normal(8, 1, 16), lots(30), "placebo fields reach"),
        (np.random.default_rng(1).normal(9, 60, 16), lots(1), "corrected p"),
        (np.random.default_rng(0).normal(40, 1, 4), lots(1), "4 cases"),
        (np.random.default_rng(0).normal(40, 1, 16), lots(1, 19), "19 placebos"),
        (np.random.default_rng(0).normal(40, 1, 16), {}, "0 placebos"),
        (np.zeros(16), lots(0.0), "corrected p 1"),
        (np.full(16, np.nan), lots(1), "0 cases"),
    ],
)
def test_what_is_no_effect_says_why(
    values: np.ndarray, placebos: dict[str, np.ndarray], why_not: str
) -> None:
    [found] = effects_of({Lungs: values}, placebos, smallest=5)
    assert not found.is_found and found.why_not.startswith(why_not)
    assert found.to_json()["verdict"] == "no effect found"


def test_a_network_that_moves_by_chance_alone_has_no_effect() -> None:
    """Fields without effect move images as placebos do: of 200, few pass for an effect."""
    draws = np.random.default_rng(0)
    passed = 0
    for _ in range(200):
        means = draws.normal(0, 6, 21)  # of 20 placebos and the field: all alike
        values = draws.normal(means[0], 2, 16)  # each with a p of next to nothing
        [found] = effects_of({Lungs: values}, {"label 2": means[1:]}, smallest=1)
        passed += found.is_found
    assert passed <= 30  # about one in ten: beyond the 95th percentile of 20


def test_masks_without_a_region_do_not_count() -> None:
    values = np.random.default_rng(0).normal(40, 5, 16)
    values[3] = np.nan
    [found] = effects_of({Lungs: values}, lots(1), smallest=5)
    assert found.num == 15 and found.is_found


def test_a_dose_is_in_order_where_each_step_goes_the_same_way() -> None:
    table = np.array([[0.0, 10, 20], [0, 12, 19], [0, 15, 11], [np.nan, 1, 1]])
    dose = dose_of("age", "label 1", (20, 40, 60), table)
    assert dose.means == pytest.approx((0, 37 / 3, 50 / 3))
    assert dose.in_order == pytest.approx(2 / 3)
    assert dose.slope == pytest.approx((20 + 19 + 11) / 3 / 40)  # least squares through 3 points
    assert dose_of("x", "label 1", ("a", "b", "c"), -table).slope is None
    assert dose_of("x", "label 1", ("a", "b", "c"), -table).in_order == pytest.approx(2 / 3)
