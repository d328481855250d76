from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from generators.base import Conditions, Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.estimate import Flops, estimate
from generators.rl.policy import MemoryFit, Policy
from generators.rl.probe import Fits, found_fit
from generators.rl.training import Conduct, Rollouts, train
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def test_an_estimate_by_hand(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    policy, conditions = Policy(tiny_generator, small()), tiny_generator.conditioner(prompts)
    cost = estimate(policy, conditions)
    # 2 updates of 8 images in 5 steps, of which 2 are trained (1 forward, 2 backward) and anchored
    assert cost.images == 16
    assert cost.rollout_evaluations == 16 * 5
    assert cost.training_evaluations == 16 * 2 * 3
    assert cost.kl_evaluations == 16 * 2
    assert cost.evaluations == 80 + 96 + 32
    assert cost.seconds > 0
    forward = _flops_of_forward(tiny_generator, conditions)
    # the anchor's and the rollout's forward passes; with its backward pass one costs 2 to 3
    assert (112 + 32 * 1.5) * forward < cost.flops < (112 + 32 * 3) * forward
    policy.fit = MemoryFit(6, kept_images=8)
    kept = estimate(policy, conditions)  # the training pass begins with the backward pass
    assert kept.training_evaluations == 16 * 2 * 2
    assert cost.flops - kept.flops == pytest.approx(32 * forward)
    assert estimate(policy, conditions, makes_images=False).rollout_evaluations == 0


@pytest.mark.parametrize(("algorithm", "backwards"), [("window", 0), ("draft", 2)])
def test_where_the_reward_is_differentiated_that_is_paid_for(
    algorithm: str,
    backwards: int,
    tiny_generator: DiffusionGenerator,
    small: Small,
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock that stands still but in the gradient of the reward: a tenth of a second."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    policy = Policy(tiny_generator, small(algorithm=algorithm))
    seen: list[torch.Tensor] = []

    def slowly(gradient: torch.Tensor) -> None:
        now[0] += 0.1
        seen.append(gradient)

    def reward(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        if images.requires_grad:
            images.register_hook(slowly)
        return mean_B, torch.zeros_like(mean_B)

    conditions = tiny_generator.conditioner(prompts)
    found = estimate(policy, conditions, reward=reward)
    assert len(seen) == backwards  # it is tried twice
    passes = 2 * 16 / policy.fit.micro_batch  # two copies of each image
    assert found.seconds == pytest.approx(0.1 * passes if backwards else 0.0)


def _flops_of_forward(generator: DiffusionGenerator, conditions: Conditions) -> float:
    x_t = torch.zeros(1, *generator.latent_shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator.denoiser(x_t, torch.tensor([500]), conditions.select([0]))
    return float(counter.get_total_flops())


@pytest.mark.parametrize("rank", [0, 2])
def test_operations_are_counted_as_torch_counts_them(
    rank: int, tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    """With adapters and without, forward and backward, decoding too."""
    policy = Policy(tiny_generator, small(lora_rank=rank))
    conditions = tiny_generator.conditioner(prompts)

    def run() -> None:
        x_t = torch.zeros(4, *tiny_generator.latent_shape)
        predicted = tiny_generator.denoiser(x_t, torch.tensor([500] * 4), conditions)
        tiny_generator.codec.decode(predicted).sum().backward()
        policy.weights.optimizer.zero_grad()

    with FlopCounterMode(display=False) as counter:
        run()
    with Flops() as counted:
        run()
    assert counted.total == counter.get_total_flops() > 1e6


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guidance": 2.0},
        {"check_every": 1},
        {"branches": 2},  # the window moves from update to update
        {"branches": 4, "guidance": 2.0, "window_start": 2, "memory_gib": 0.0},
        {"inner_epochs": 2, "memory_gib": 0.0},
        {"algorithm": "ddpo", "memory_gib": 0.0},
        {"algorithm": "nft", "guidance": 2.0},
        {"algorithm": "draft"},
        {"kl_weight": 0.0, "kl_target": float("inf")},  # no anchor, no budget
    ],
)
def test_a_run_evaluates_what_was_estimated(
    changes: dict,
    tiny_generator: DiffusionGenerator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path: Path,
) -> None:
    config = small(**changes)
    policy, conditions = (
        Policy(make_tiny_generator(), config),
        tiny_generator.conditioner(prompts),
    )
    fits = Fits(tmp_path / "fits.json", Path.write_bytes)
    policy.fit = found_fit(policy, conditions, config.images_per_update, fits)
    cost = estimate(policy, conditions)
    seen = {"forward": 0, "forward and backward": 0}

    def count(unet: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kind = "forward and backward" if torch.is_grad_enabled() else "forward"
        seen[kind] += len(inputs[0])

    tiny_generator.denoiser.network.register_forward_pre_hook(count)
    train(
        tiny_generator,
        Rollouts(prompts, brightness),
        config,
        Conduct(tmp_path, lambda health: None, fits=fits),
    )
    halves = 1 if config.guidance == 1 else 2
    num_kept = 2 * policy.fit.kept_images * config.num_trained_steps * halves
    assert seen["forward"] == cost.rollout_evaluations + cost.kl_evaluations - num_kept
    assert 3 * seen["forward and backward"] == cost.training_evaluations + num_kept
