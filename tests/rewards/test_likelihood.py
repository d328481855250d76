"""Shapes: R ratings, C comparisons, K thresholds."""

import math
from dataclasses import replace

import pytest
import torch

from rewards.likelihood import (
    Scale,
    comparison_log_likelihood,
    grade_probabilities,
    rating_log_likelihood,
)
from rewards.ratings import Answers


def answers(grades: list[int], *, raters: list[int] | None = None, won: float = 1.0) -> Answers:
    count = len(grades)
    places, one = torch.arange(count), torch.zeros(1, dtype=torch.long)
    return Answers(
        image_R=places,
        grade_R=torch.tensor(grades),
        rater_R=torch.tensor(raters or [0] * count),
        weight_R=torch.ones(count, dtype=torch.float64),
        left_C=one,
        right_C=one + 1,
        preference_C=torch.tensor([won], dtype=torch.float64),
        rater_C=one,
        weight_C=torch.ones(1, dtype=torch.float64),
    )


def scale(**habits: list[float]) -> Scale:
    usual = Scale.usual(2, 2)
    found = {name: torch.tensor(values, dtype=torch.float64) for name, values in habits.items()}
    return replace(usual, **found)


def latent(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_chances_of_all_grades_are_those_of_hand_arithmetic() -> None:
    # thresholds 0 and 2; a quality of 1 lies between: sigmoid(1) above the first, sigmoid(-1) ...
    above, beyond = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))
    by_hand = [1 - above, above - beyond, beyond]
    found = rating_log_likelihood(latent(1, 1, 1), answers([0, 1, 2]), scale()).exp()
    assert found.tolist() == pytest.approx([0.95 * p + 0.05 / 3 for p in by_hand])
    assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("grade", "direction"), [(0, -1), (2, 1)])
def test_a_worst_rating_pulls_the_quality_down_and_a_best_one_up(
    grade: int, direction: int
) -> None:
    for start in (-4.0, 0.0, 1.0, 4.0):
        quality = latent(start).requires_grad_()
        rating_log_likelihood(quality, answers([grade]), scale()).sum().backward()
        assert quality.grad is not None
        assert quality.grad.sign().item() == direction


def test_a_strict_raters_best_rating_says_more() -> None:
    strict = scale(severity_J=[0.0, 1.5])
    found = rating_log_likelihood(latent(1, 1), answers([2, 2], raters=[0, 1]), strict)
    assert found[1] < found[0]  # rarer, so that it pulls harder


def test_what_a_careless_rater_says_pulls_less() -> None:
    careless = scale(lapse_logit_J=[-3.0, 4.0])
    quality = latent(-2, -2).requires_grad_()
    rating_log_likelihood(quality, answers([2, 2], raters=[0, 1]), careless).sum().backward()
    assert quality.grad is not None
    assert quality.grad[1] < quality.grad[0] / 3


def test_reliability_is_relative_so_that_it_cannot_stand_in_for_quality() -> None:
    both = scale(log_reliability_J=[3.0, 3.0])
    assert both.reliability_J.tolist() == [1.0, 1.0]


def test_comparisons_are_bradley_terrys_and_a_tie_is_half_a_win_each() -> None:
    difference = latent(1.0)
    chances = [
        comparison_log_likelihood(difference, answers([0], won=won), scale()).exp().item()
        for won in (1.0, 0.0)
    ]
    assert chances[0] == pytest.approx(0.95 / (1 + math.exp(-1)) + 0.025)
    assert sum(chances) == pytest.approx(1)
    tie = comparison_log_likelihood(difference, answers([0], won=0.5), scale()).item()
    assert tie == pytest.approx(sum(math.log(chance) for chance in chances) / 2)


def test_no_answer_is_impossible() -> None:
    far = rating_log_likelihood(latent(60, -60), answers([0, 2]), scale())
    assert torch.isfinite(far).all()


def test_chances_above_thresholds_become_chances_of_grades() -> None:
    found = grade_probabilities(torch.tensor([[0.7, 0.2]]))
    assert found[0].tolist() == pytest.approx([0.3, 0.5, 0.2])
