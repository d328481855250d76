import pytest
import torch

from generators.errors import GeneratorError
from generators.rl.advantages import PromptBuffers, advantages_within, group_advantages


def test_advantages_agree_with_hand_arithmetic() -> None:
    rewards_B = torch.tensor([1.0, 3.0, 10.0, 16.0])  # groups (1, 3) and (10, 16)
    advantages = group_advantages(rewards_B, 2, clip=5.0)
    # centred -1, 1, -3, 3; their root mean square is sqrt((1 + 1 + 9 + 9) / 4) = sqrt(5)
    expected = torch.tensor([-1.0, 1.0, -3.0, 3.0]) / 5**0.5
    torch.testing.assert_close(advantages.values_B, expected)
    assert advantages.num_zero_spread_groups == 0


def test_siblings_sum_to_zero() -> None:
    rewards_B = torch.rand(48, generator=torch.Generator().manual_seed(0)) + 100
    advantages_B = group_advantages(rewards_B, 8, clip=5.0).values_B
    assert advantages_B.view(6, 8).sum(dim=1).abs().max() < 1e-5


def test_a_group_of_equals_teaches_nothing_and_does_not_dilute_the_others() -> None:
    alone = group_advantages(torch.tensor([0.0, 1.0]), 2, clip=5.0)
    with_equals = group_advantages(torch.tensor([0.7, 0.7, 0.0, 1.0]), 2, clip=5.0)
    assert torch.equal(with_equals.values_B, torch.tensor([0.0, 0.0, -1.0, 1.0]))
    assert torch.equal(with_equals.values_B[2:], alone.values_B)
    assert with_equals.num_zero_spread_groups == 1


def test_near_ties_are_not_blown_up() -> None:
    rewards_B = torch.tensor([0.5, 0.501, 0.0, 1.0])
    advantages_B = group_advantages(rewards_B, 2, clip=5.0).values_B
    assert advantages_B[1] == pytest.approx(0.0005 / 0.25**0.5 * 2**0.5, rel=1e-2)


def test_one_freak_image_is_clipped() -> None:
    rewards_B = torch.cat([torch.zeros(63), torch.ones(1)])
    assert group_advantages(rewards_B, 64, clip=2.5).values_B.max() == 2.5


def test_rewards_that_no_group_tells_apart_are_refused() -> None:
    rewards_B = torch.tensor([0.2, 0.2, 0.8, 0.8])  # the groups differ, the siblings do not
    with pytest.raises(GeneratorError, match="all rewards are equal"):
        group_advantages(rewards_B, 2, clip=5.0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_nan_or_infinite_reward_is_refused(broken: float) -> None:
    with pytest.raises(GeneratorError, match="1 of 4 rewards are NaN or infinite .first: image 2"):
        group_advantages(torch.tensor([0.1, 0.2, broken, 0.4]), 2, clip=5.0)


def test_groups_may_differ_in_size_and_lie_anywhere() -> None:
    rewards_B = torch.tensor([1.0, 10.0, 3.0, 16.0, 7.0])
    groups_B = torch.tensor([0, 1, 0, 1, 2])
    advantages = advantages_within(rewards_B, groups_B, clip=5.0)
    expected = torch.tensor([-1.0, -3.0, 1.0, 3.0, 0.0]) / 5**0.5
    torch.testing.assert_close(advantages.values_B, expected)
    assert advantages.num_zero_spread_groups == 1  # the single one


def test_buffers_keep_the_last_rewards_of_each_prompt() -> None:
    buffers = PromptBuffers(3, {}).with_rewards([0, 0, 1], torch.tensor([1.0, 2.0, 9.0]))
    buffers = buffers.with_rewards([0, 0], torch.tensor([3.0, 4.0]))
    assert buffers.rewards == {0: [2.0, 3.0, 4.0], 1: [9.0]}
    assert buffers.baselines([0, 1, 0]).tolist() == [3.0, 9.0, 3.0]


def test_against_a_buffer_even_equal_siblings_can_be_better_than_before() -> None:
    rewards_B = torch.tensor([2.0, 2.0, 0.0, 1.0])
    advantages = advantages_within(
        rewards_B,
        torch.tensor([0, 0, 1, 1]),
        clip=5.0,
        baselines_B=torch.tensor([1.0, 1, 0.5, 0.5]),
    )
    # 1, 1, -0.5, 0.5; their root mean square is sqrt(2.5 / 4)
    expected = torch.tensor([1.0, 1.0, -0.5, 0.5]) / 0.625**0.5
    torch.testing.assert_close(advantages.values_B, expected)
