import random
from statistics import fmean

import pytest

from annotation.config import SimulatedRaterConfig, default_raters
from annotation.simulated import SimulatedRater

THRESHOLDS = (-1.0, 1.0)


def rater(**habits: object) -> SimulatedRater:
    config = {"name": "r", "noise": 0.0, "lapse": 0.0} | habits
    return SimulatedRater(SimulatedRaterConfig.from_json(config))


def occasions(count: int) -> list[str]:
    return [f"image-{number}/0" for number in range(count)]


def test_without_noise_the_thresholds_decide() -> None:
    assert rater().rate([-1.1, -1.0, 0.9, 1.0], THRESHOLDS, occasions(4)) == [1, 2, 2, 3]


def test_a_strict_rater_wants_more_and_a_mild_one_less() -> None:
    truth = [0.0, 1.5]
    assert rater(severity=0.6).rate(truth, THRESHOLDS, occasions(2)) == [1, 2]
    assert rater(severity=-0.6).rate(truth, THRESHOLDS, occasions(2)) == [3, 3]


def test_habits_are_in_grades_whatever_the_unit_of_the_truth() -> None:
    chance = random.Random(0)
    truth = [chance.gauss(0, 2) for _ in range(200)]
    noisy = rater(noise=0.5, severity=0.2)
    as_is = noisy.rate(truth, THRESHOLDS, occasions(200))
    scaled = noisy.rate([100 * t + 7 for t in truth], (-93.0, 107.0), occasions(200))
    assert as_is == scaled


def test_a_grade_depends_on_rater_and_occasion_not_on_order_or_neighbours() -> None:
    noisy = rater(noise=1.0, lapse=0.2)
    truth = [i / 10 - 2 for i in range(40)]
    names = occasions(40)
    together = dict(zip(names, noisy.rate(truth, THRESHOLDS, names), strict=True))
    alone = {
        name: noisy.rate([value], THRESHOLDS, [name])[0]
        for value, name in reversed(list(zip(truth, names, strict=True)))
    }
    assert alone == together


def test_a_second_look_is_a_fresh_one_and_another_rater_another_eye() -> None:
    truth = [0.0] * 300
    first = rater(noise=0.5).rate(truth, THRESHOLDS, [f"{i}/0" for i in range(300)])
    again = rater(noise=0.5).rate(truth, THRESHOLDS, [f"{i}/1" for i in range(300)])
    other = rater(noise=0.5, seed=1).rate(truth, THRESHOLDS, [f"{i}/0" for i in range(300)])
    for second in (again, other):
        same = fmean(a == b for a, b in zip(first, second, strict=True))
        assert 0.4 < same < 0.75  # by hand: .683^2 + 2 * .159^2 = .52


def test_noise_and_lapses_come_as_often_as_told() -> None:
    def middle_share(**habits: float) -> float:
        values = rater(**habits).rate([0.0] * 4000, THRESHOLDS, occasions(4000))
        return fmean(value == 2 for value in values)

    assert middle_share(noise=0.5) == pytest.approx(0.683, abs=0.03)  # one sigma each side
    assert middle_share(lapse=0.3) == pytest.approx(0.7 + 0.3 / 3, abs=0.03)


def test_of_a_pair_the_better_is_preferred_near_ones_tie_and_sides_do_not_matter() -> None:
    pairs = [(0.9, 0.1), (0.1, 0.9), (0.5, 0.51)]
    calm = rater(noise=0.0, lapse=0.0)
    assert calm.compare(pairs, THRESHOLDS, occasions(3)) == ["left", "right", "tie"]
    unsure = rater(noise=1.0, lapse=0.0)
    found = unsure.compare([(0.5, 0.5)] * 2000, THRESHOLDS, occasions(2000))
    assert abs(found.count("left") - found.count("right")) < 200  # 5 standard deviations


def test_the_default_raters_differ_and_are_marked_as_simulated() -> None:
    configs = default_raters(3)
    assert len({config.severity for config in configs}) == 3
    assert [config.expert_level for config in configs] == [3, 2, 1]
    profile = SimulatedRater(configs[1]).profile()
    assert profile.simulated
    assert SimulatedRaterConfig.from_json(profile.config) == configs[1]


def test_a_rater_whose_row_names_no_eyes_has_those_that_came_first() -> None:
    (first,), (later,) = default_raters(1), default_raters(1, eyes="f" * 64)
    assert "eyes" not in first.to_json()
    assert later.to_json()["eyes"] == "f" * 64
    for config in (first, later):
        assert SimulatedRaterConfig.from_json(config.to_json()) == config


def test_impossible_habits_are_refused() -> None:
    with pytest.raises(ValueError, match="lapse"):
        SimulatedRaterConfig(name="r", lapse=1.5)
