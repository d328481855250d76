import pytest

from generators.rl.update import is_overspent, steered_weight


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


def test_three_times_the_target_is_overspent() -> None:
    assert not is_overspent(3.0, target=1.0)
    assert is_overspent(3.01, target=1.0)
