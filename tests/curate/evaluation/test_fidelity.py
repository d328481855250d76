import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from curate.evaluation.fidelity import kid, squared_mmd


def _features(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 16, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_mmd_agrees_with_sklearns_kernel() -> None:
    x, y = _features(20, 0).double(), _features(30, 1, 0.5).double()
    inside_x, inside_y, between = (
        polynomial_kernel(a.numpy(), b.numpy(), degree=3, coef0=1)
        for a, b in ((x, x), (y, y), (x, y))
    )
    np.fill_diagonal(inside_x, 0)
    np.fill_diagonal(inside_y, 0)
    expected = inside_x.sum() / (20 * 19) + inside_y.sum() / (30 * 29) - 2 * between.mean()
    assert squared_mmd(x, y).item() == pytest.approx(expected)


def test_equal_distributions_give_about_zero_and_a_shift_does_not() -> None:
    same = kid(_features(300, 0), _features(300, 1))
    shifted = kid(_features(300, 0, 0.5), _features(300, 1))
    assert same.low < 0 < same.high
    assert shifted.low > 0 and shifted.value > 10 * abs(same.value)


def test_the_interval_covers_zero_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(40):
        estimate = kid(_features(80, seed), _features(80, 1000 + seed), num_subsets=60)
        covered += estimate.low <= 0 <= estimate.high
    assert covered >= 34  # 38 expected; 33 or fewer happen once in a hundred


def test_the_interval_is_as_wide_as_the_figures_of_repeated_samples_spread() -> None:
    estimates = [
        kid(_features(80, seed, 0.3), _features(80, 500 + seed), num_subsets=60)
        for seed in range(40)
    ]
    spread = np.std([e.value for e in estimates])
    claimed = np.mean([(e.high - e.low) / 2 / 1.96 for e in estimates])
    assert claimed == pytest.approx(spread, rel=0.35)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 10 images"):
        kid(_features(3, 0), _features(10, 1))
