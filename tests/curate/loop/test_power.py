"""What a gate finds is said beforehand, and is what simulated rounds come to."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from annotation.config import default_raters
from annotation.simulated import SimulatedRater
from benchmarks.rl.gate import Planted, chance_of_top, promoted
from curate.evaluation.intervals import paired_t
from curate.loop.config import GATED_BEFORE, LoopConfig
from curate.loop.gate import power_in_words
from curate.loop.power import power
from generators.rl.config import BEFORE, RLConfig, usual

ROUNDS = 500


def test_the_paired_interval_is_students() -> None:
    draws = np.random.default_rng(0)
    before_P, after_P = draws.random(12), draws.random(12)
    found = paired_t(before_P, after_P, confidence=0.92)
    expected = stats.ttest_rel(after_P, before_P).confidence_interval(0.92)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert paired_t([0.2], [0.7]).low == -1.0  # one prompt alone excludes nothing
    with pytest.raises(ValueError, match="pairs needed"):
        paired_t([0.2, 0.3], [0.7])


@pytest.mark.parametrize("number", range(3))
def test_planted_rounds_are_rated_as_simulated_raters_rate(number: int) -> None:
    habits, looks = default_raters()[number], 4000
    for truth in (-0.4, 0.1, 0.6):  # grades beyond the threshold of the top
        grades = SimulatedRater(habits).rate(
            [1.0 + truth] * looks, [0.0, 1.0], [str(look) for look in range(looks)]
        )
        chance = float(chance_of_top(np.array([truth]), habits)[0])
        assert grades.count(3) / looks == pytest.approx(chance, abs=3 * 0.5 / looks**0.5)


@pytest.mark.parametrize(
    ("change", "least", "most"), [(-0.03, 0.0, 0.01), (0.0, 0.0, 0.05), (0.03, 0.8, 1.0)]
)
def test_two_hundred_prompts_find_three_points_and_seldom_what_is_not_there(
    change: float, least: float, most: float
) -> None:
    config, draws = LoopConfig(), np.random.default_rng(1)
    passed = promoted(Planted(), change, config, num_prompts=200, rounds=ROUNDS, draws=draws)
    share = sum(passed) / ROUNDS
    assert least <= share <= most
    assert power(config, 200, change) == pytest.approx(share, abs=0.06)


def test_the_planted_change_is_the_change_of_the_share_rated_top() -> None:
    planted, draws = Planted(), np.random.default_rng(2)
    truths = draws.normal(planted.mean, np.hypot(planted.prompts_sd, planted.images_sd), 400_000)
    moved = truths + planted.move_for(0.05) + draws.normal(0, planted.change_sd, truths.shape)
    before, after = (
        np.mean([chance_of_top(t, rater) for rater in default_raters()]) for t in (truths, moved)
    )
    assert after - before == pytest.approx(0.05, abs=0.002)


def test_power_is_said_in_words_and_rises_with_prompts() -> None:
    config = LoopConfig(gate_images_per_prompt=8)
    said = power_in_words(config, 20)
    assert said.startswith("gate: 20 prompts x 8 images, 2 raters each, promotes 4% of versions")
    assert "of those that rise by 3 points" in said and "by 10 points" in said
    assert 0.8 < power(config, 20, 0.1) < power(config, 50, 0.1)
    assert power(config, 1, 0.1) == 0.0


def test_a_loop_goes_on_with_the_gate_and_the_siblings_that_it_was_begun_with() -> None:
    plain = RLConfig(**{**usual().to_json(), **BEFORE})
    before = LoopConfig(**GATED_BEFORE, rl=plain).to_json()
    resumed = LoopConfig().as_begun(before)
    assert resumed == LoopConfig.from_json(before)
    other = replace(LoopConfig(), gate_tolerance=0.1)  # chosen: a loop of another name
    assert other.as_begun(before).gate_tolerance == 0.1
    assert LoopConfig().as_begun(LoopConfig().to_json()) == LoopConfig()
