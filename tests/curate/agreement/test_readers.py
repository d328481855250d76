import pytest

from curate.agreement.readers import pace, pooled_turing_accuracy, rater_worth, turing_test
from curate.evaluation.intervals import wilson_interval
from tests.curate.agreement.study import controls, look, said


def test_time_counts_once_a_look_however_many_criteria_it_answered() -> None:
    looks = [
        look("ann", f"{n}", 2, criterion=criterion, seconds=seconds)
        for n, seconds in enumerate([1.0, 5.0, 6.0, 7.0, 600.0])
        for criterion in ("realism", "anatomy")
    ]
    found = pace(looks)
    assert found is not None
    assert (found.num, found.median_s, found.hasty_share) == (5, 6.0, 0.2)
    assert pace([look("ann", "x", 2, seconds=None)]) is None


def test_known_good_belongs_in_the_upper_half_and_spoiled_below() -> None:
    worth = rater_worth(controls("ann", good=[3, 2, 1], bad=[1, 2, 3]))
    assert worth.controls is not None
    assert (worth.controls.value, worth.controls.num) == (0.5, 6)
    assert worth.controls == wilson_interval(3, 6)


def test_a_scale_on_which_low_is_good_is_turned() -> None:
    shown = [
        look("ann", "good", 1, purpose="control", origin="real", polarity="lower"),
        look("ann", "bad", 3, purpose="control", origin="real", polarity="lower", spoiled="noisy"),
    ]
    worth = rater_worth(shown)
    assert worth.controls is not None and worth.controls.value == 1


def test_several_criteria_of_a_control_are_one_verdict() -> None:
    shown = [
        look("ann", "good", value, criterion=name, scale=(1, 5), purpose="control", origin="real")
        for name, value in [("realism", 5), ("anatomy", 2)]
    ]
    worth = rater_worth(shown)
    assert worth.controls is not None and (worth.controls.value, worth.controls.num) == (1, 1)


def test_real_or_synthetic_counts_what_was_decided() -> None:
    found = turing_test(said("ann", "rrrrssss", "rrsussru"))
    assert found is not None
    assert (found.num_looks, found.num_unsure) == (8, 2)
    assert found.accuracy == wilson_interval(4, 6)
    assert found.real_as_real == wilson_interval(2, 3)
    assert found.synthetic_as_synthetic == wilson_interval(2, 3)


def test_nobody_asked_and_everybody_unsure_are_told_apart() -> None:
    assert turing_test([look("ann", "x", 2)]) is None
    found = turing_test(said("ann", "rs", "uu"))
    assert found is not None and found.accuracy is None and found.num_unsure == 2


def test_all_raters_together_count_images_not_verdicts() -> None:
    """Ten raters who say the same of each image are no more evidence than one."""
    one = said("ann", "rs" * 20, "rr" * 20)
    ten = [entry for n in range(10) for entry in said(f"r{n}", "rs" * 20, "rr" * 20)]
    alone, together = pooled_turing_accuracy(one), pooled_turing_accuracy(ten)
    assert alone is not None and together is not None
    assert alone.value == together.value == 0.5
    assert together.high - together.low == pytest.approx(alone.high - alone.low, abs=0.06)


def test_spoiled_images_and_second_looks_are_no_fair_question() -> None:
    asked = said("ann", "rs", "rs")
    unfair = [
        look("ann", "3", 2, kind="origin", origin="real", spoiled="noisy", purpose="control"),
        look("ann", "4", 2, kind="origin", origin="real", purpose="repeat"),
    ]
    found = turing_test([*asked, *unfair])
    assert found is not None and found.num_looks == 2


def test_a_habit_of_sides_is_measured_on_decided_pairs() -> None:
    pairs = [
        look("ann", f"{n}", side, other_image=f"other {n}")
        for n, side in enumerate(["left", "left", "left", "right", "tie"])
    ]
    worth = rater_worth(pairs)
    assert worth.left_share == wilson_interval(3, 4)
    assert worth.only_value is None
