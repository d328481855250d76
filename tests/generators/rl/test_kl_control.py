import pytest

from generators.rl.config import RLConfig
from generators.rl.update import Gradient, is_overspent, steered_weight


@pytest.mark.parametrize(
    ("change", "expected"), [(1.6, 0.3), (1.4, 0.2), (0.7, 0.2), (0.6, 0.2 / 1.5), (0.0, 0.2 / 1.5)]
)
def test_the_weight_follows_the_change(change: float, expected: float) -> None:
    assert steered_weight(0.2, change, target=1.0, first=0.2) == pytest.approx(expected)


def test_the_weight_can_always_come_back() -> None:
    weight = 0.3
    for _ in range(100):
        weight = steered_weight(weight, 0.0, target=1.0, first=0.3)
    assert weight == pytest.approx(0.01)
    for _ in range(100):
        weight = steered_weight(weight, 2.0, target=1.0, first=0.3)
    assert weight == pytest.approx(9.0)


def test_three_times_the_target_is_overspent_and_so_is_a_start_as_far_from_the_base() -> None:
    def overspent(change: float, start_change: float) -> bool:
        found = Gradient(0.0, 0.0, None, change, 0.0, start_change, start_change)
        config = RLConfig(kl_target=1.0, holds_budget=True, base_target=2.0)
        return is_overspent(found, config)

    assert not overspent(3.0, 1.99)
    assert overspent(3.01, 0.0)
    assert overspent(0.0, 2.0)
