import numpy as np
import pytest

from curate.evaluation.intervals import bootstrap_mean, paired_bootstrap, wilson_interval


def test_wilson_gives_the_published_interval_of_15_in_148() -> None:
    # Newcombe 1998 (Stat. Med. 17:857), table I, method 3: 81/263 and 15/148
    estimate = wilson_interval(15, 148)
    assert (estimate.low, estimate.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    estimate = wilson_interval(81, 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_share_of_none_or_all_still_has_an_interval_inside_0_and_1() -> None:
    none, everything = wilson_interval(0, 20), wilson_interval(20, 20)
    assert none.low == 0 and none.high == pytest.approx(0.1611, abs=5e-5)
    assert everything.high == 1 and everything.low == pytest.approx(0.8389, abs=5e-5)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson_interval(0, 0)


def test_the_bootstrap_of_many_values_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.3, 0.5, size=400)
    half_width = 1.96 * values.std(ddof=1) / np.sqrt(400)
    estimate = bootstrap_mean(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half_width, abs=0.005)
    assert estimate.high == pytest.approx(values.mean() + half_width, abs=0.005)


def test_pairing_sees_a_small_gain_that_two_separate_means_hide() -> None:
    before = np.random.default_rng(2).normal(0, 1, size=50)
    gain = paired_bootstrap(before, before + 0.1)
    assert gain.excludes_zero() and gain.value == pytest.approx(0.1)
    assert bootstrap_mean(before + 0.1).low < bootstrap_mean(before).high


def test_no_difference_does_not_exclude_zero() -> None:
    random = np.random.default_rng(3)
    before, after = random.normal(size=80), random.normal(size=80)
    assert not paired_bootstrap(before, after).excludes_zero()


def test_unequal_pairs_and_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs needed"):
        paired_bootstrap([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([1.0, float("nan")])
