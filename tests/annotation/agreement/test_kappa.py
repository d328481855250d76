import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from annotation.agreement.kappa import equal_share, weighted_kappa

ONCE = np.ones((1, 6))
SCALE = (1, 2, 3)


def columns(first: list[float], second: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(first), np.array(second)


def test_it_is_what_the_definition_gives() -> None:
    first, second = columns([1, 1, 2, 2, 3, 3], [1, 2, 2, 3, 3, 1])
    # by hand: mean squared gap 6/6 observed; 48/36 expected from the margins (2, 2, 2) x (2, 2, 2)
    found = weighted_kappa(first, second, SCALE, ONCE)
    assert found[0] == pytest.approx(1 - 1.0 / (48 / 36))


def test_it_is_what_scikit_learn_gives() -> None:
    random = np.random.default_rng(0)
    first = random.integers(1, 6, 200).astype(float)
    second = np.clip(first + random.integers(-1, 2, 200), 1, 5).astype(float)
    found = weighted_kappa(first, second, (1, 2, 3, 4, 5), np.ones((1, 200)))
    expected = cohen_kappa_score(first.astype(int), second.astype(int), weights="quadratic")
    assert found[0] == pytest.approx(expected)


def test_a_resample_is_the_figure_of_the_images_it_drew() -> None:
    first, second = columns([1, 1, 2, 2, 3, 3], [1, 2, 2, 3, 3, 1])
    drawn = np.array([0, 0, 2, 3, 4, 4])
    weights = np.bincount(drawn, minlength=6)[None].astype(float)
    again = weighted_kappa(first[drawn], second[drawn], SCALE, ONCE)
    assert weighted_kappa(first, second, SCALE, weights)[0] == pytest.approx(again[0])
    equal = equal_share(first, second, weights)[0]
    assert equal == pytest.approx((first[drawn] == second[drawn]).mean())


def test_images_that_one_did_not_rate_count_nothing() -> None:
    first, second = columns([1, 2, 3, 1, 2, np.nan], [1, 2, 3, np.nan, np.nan, 3])
    assert weighted_kappa(first, second, SCALE, ONCE)[0] == 1
    assert equal_share(first, second, ONCE)[0] == 1


def test_one_value_only_and_no_image_in_common_are_undefined() -> None:
    assert np.isnan(weighted_kappa(*columns([3] * 6, [3] * 6), SCALE, ONCE)[0])
    none = columns([1, 2, 3] + [np.nan] * 3, [np.nan] * 3 + [1, 2, 3])
    assert np.isnan(weighted_kappa(*none, SCALE, ONCE)[0])
    assert np.isnan(equal_share(*none, ONCE)[0])
