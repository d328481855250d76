"""An RL step settles at its budget, counted to its start and to what no RL step made."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.algorithms.base import Reward
from generators.rl.budget import Drift, allowed_distance
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.progress import UpdateHealth
from generators.rl.training import Conduct, Rollouts, train
from generators.rl.update import STOP, steered_weight
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]
TARGET = 0.01


def quadratic_run(
    *, rate: float, updates: int = 60, begun_at: float = 0.0, windows: Sequence[float] = (1.0,)
) -> list[float]:
    """Return the squared change before each update of a policy whose best lies far away.

    The reward falls with the squared distance from there; its gradient is noisy, and each window of
    noise levels sees another part of the true change.
    """
    draws = torch.Generator().manual_seed(0)
    best = torch.randn(200, generator=draws)
    best *= 3 / best.norm()  # thirty times as far as the budget reaches
    way = torch.nn.Parameter(best * begun_at / best.norm())
    optimizer = torch.optim.AdamW([way], lr=rate, weight_decay=0.0)
    drift, weight, changes = Drift(), 0.1, []
    for update in range(updates):
        changes.append(way.detach().square().sum().item())
        seen = changes[-1] * windows[update % len(windows)]
        noise = torch.randn(200, generator=draws)
        loss = (way - best).square().sum() / 2 + (way * noise).sum() + weight * way.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        drift = drift.after(math.sqrt(seen), math.sqrt(TARGET))
        with torch.no_grad():
            way.mul_(drift.share)
        weight = steered_weight(weight, seen, target=TARGET, first=0.1)
    return changes


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.03])
@pytest.mark.parametrize("begun_at", [0.0, 0.14])
def test_on_a_quadratic_it_settles_at_the_budget(rate: float, begun_at: float) -> None:
    """A step of the largest rate alone is four budgets wide; 0.14 is 1.4 times as far as it."""
    settled = quadratic_run(rate=rate, begun_at=begun_at)[30:]
    assert 0.7 * TARGET < min(settled) and max(settled) < 1.3 * TARGET


def test_windows_that_see_more_or_less_of_the_change_leave_it_near_the_budget() -> None:
    settled = quadratic_run(rate=0.005, windows=(0.7, 1.3, 0.8, 1.2), updates=80)[40:]
    assert sum(settled) / len(settled) == pytest.approx(TARGET, rel=0.3)
    assert 0.6 * TARGET < min(settled) and max(settled) < 1.5 * TARGET


def test_a_steady_approach_is_slowed_before_it_arrives() -> None:
    drift, distance, seen = Drift(), 0.0, []
    for _ in range(12):
        seen.append(distance)
        drift = drift.after(distance, 0.1)
        distance = (distance + 0.03) * drift.share
    assert seen[:4] == pytest.approx([0.0, 0.03, 0.06, 0.09])
    assert seen[4:] == pytest.approx([0.1] * 8)


def test_the_way_is_cut_where_the_base_would_be_left_too_far_behind() -> None:
    """By hand, in a plane: base at 0, start at (0.03, 0), the policy at 0.05 from the start."""
    base, target = 0.06**2, 0.04**2

    def allowed(x: float, y: float) -> float:
        change, base_change = x**2 + y**2, (0.03 + x) ** 2 + y**2
        return allowed_distance(change, base_change, 0.03**2, target=target, base=base)

    assert allowed(0.05, 0.0) == pytest.approx(0.03)  # straight on: half of the way is left
    assert allowed(-0.05, 0.0) == pytest.approx(0.04)  # back: the step's own budget ends first
    assert allowed(0.0, 0.05) == pytest.approx(0.04)  # sideways up to 0.052 would be allowed
    with_base_alone = allowed_distance(0.0025, 0.0034, 0.0009, target=1.0, base=base)
    assert with_base_alone == pytest.approx(math.sqrt(0.06**2 - 0.03**2))
    assert allowed_distance(0.0, base, base, target=target, base=base) == 0.0
    assert allowed_distance(0.0, None, 0.0, target=target, base=base) == 0.04


@pytest.mark.parametrize("rank", [2, 0])
def test_a_share_of_the_way_is_kept_of_adapters_and_of_full_weights(
    rank: int, tiny_generator: DiffusionGenerator, small: Small
) -> None:
    policy = Policy(tiny_generator, small(lora_rank=rank, learning_rate=1e-3))
    network = tiny_generator.denoiser.network
    with torch.no_grad():
        for weight in policy.weights.named.values():
            weight.add_(0.01 * torch.randn_like(weight))

    def ways() -> list[Tensor]:
        if rank:
            layer = network.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
            return [layer.get_delta_weight("default").detach().clone()]
        start = dict(policy._start.named_parameters())  # type: ignore[union-attr]
        return [(w - start[name]).detach() for name, w in network.named_parameters()]

    before = ways()
    policy.keep_share(0.25)
    for way, was in zip(ways(), before, strict=True):
        torch.testing.assert_close(way, 0.25 * was, rtol=1e-4, atol=1e-7)


def run(
    config: RLConfig,
    prompts: list[Prompt],
    reward: Reward,
    folder: Path,
    base: DiffusionGenerator | None = None,
) -> tuple[Policy, list[UpdateHealth]]:
    network = None if base is None else base.denoiser.network
    trained = train(
        make_tiny_generator(),
        Rollouts(prompts, reward),
        config,
        Conduct(folder, lambda health: None, base=network),
    )
    return trained.policy, list(trained.history)


def test_a_run_is_held_where_another_goes_far_beyond(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    few = {"num_updates": 6, "num_steps": 3, "window_size": 1, "window_start": 0}
    settings = {**few, "learning_rate": 3e-2, "kl_target": 5e-4}
    _, free = run(small(**settings), prompts, brightness, tmp_path / "free")
    assert free[-1].stopped  # at 3 x the budget
    _, held = run(small(**settings, holds_budget=True), prompts, brightness, tmp_path / "held")
    assert not held[-1].stopped and min(health.kept_share for health in held) < 0.9
    assert all(health.squared_change < 1.3 * 5e-4 for health in held[3:])


def test_the_result_is_the_best_that_was_checked(
    small: Small, prompts: list[Prompt], tmp_path: Path
) -> None:
    checks: list[float] = []

    def falls_after_the_second_check(images: Tensor, of: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        if len(of) == small().check_images and len({p.text for p in of}) > 2:  # all prompts
            checks.append([1.0, 2.0, 0.5, 1.5][len(checks)])
            mean_B = torch.full_like(mean_B, checks[-1])
        return mean_B, torch.zeros_like(mean_B)

    config = small(num_updates=4, check_every=1)
    first_two = small(num_updates=2, check_every=1)
    best, history = run(config, prompts, falls_after_the_second_check, tmp_path / "four")
    assert [health.checked for health in history] == [1.0, 2.0, 0.5, 1.5]
    checks.clear()
    run(first_two, prompts, falls_after_the_second_check, tmp_path / "two")
    after_two = load_file(tmp_path / "two" / "checkpoint.safetensors")
    for name, weight in best.weights.named.items():
        assert torch.equal(weight, after_two[f"weight/{name}"])


def test_rounds_do_not_add_up_beyond_the_bases_budget(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    base = make_tiny_generator()
    with torch.no_grad():  # as far behind the start as an earlier round would leave it
        base.denoiser.network.conv_out.bias += 0.02
    settings = {"num_updates": 4, "window_start": 1, "kl_target": 1e-3, "holds_budget": True}
    config = small(**settings, base_target=6e-4)
    _, history = run(config, prompts, brightness, tmp_path / "held", base)
    assert history[0].base_change == pytest.approx(4e-4, rel=1e-3)  # the bias alone
    ends = [health.base_change for health in history[-2:]]
    assert all(end is not None and end < 1.3 * 6e-4 for end in ends)
    spent = small(**settings, base_target=3e-4)
    before = copy.deepcopy(make_tiny_generator().denoiser.network.state_dict())
    policy, (only,) = run(spent, prompts, brightness, tmp_path / "spent", base)
    assert only.stopped and only.gradient_norm == 0.0  # begun where no way is left
    after = {
        k.replace(".base_layer", ""): v
        for k, v in policy.generator.denoiser.network.state_dict().items()
    }
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_was_stopped_far_beyond_comes_back_to_the_budget(
    small: Small, prompts: list[Prompt], brightness: Reward, tmp_path: Path
) -> None:
    config = small(num_updates=5, kl_target=1e-7, holds_budget=True, window_start=1)
    _, history = run(config, prompts, brightness, tmp_path)
    last = history[-1]
    assert last.stopped and last.squared_change > STOP * 1e-7
    assert last.kept_share == pytest.approx(math.sqrt(1e-7 / last.squared_change))
