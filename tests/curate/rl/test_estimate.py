from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from curate.rl.algorithms.base import Reward
from curate.rl.config import RLConfig
from curate.rl.estimate import estimate
from curate.rl.training import train
from generators.base import Generator, Prompt

Small = Callable[..., RLConfig]


def test_an_estimate_by_hand(
    tiny_generator: Generator, small: Small, prompts: list[Prompt]
) -> None:
    cost = estimate(small(), tiny_generator, tiny_generator.conditioner(prompts))
    # 2 updates of 8 images in 5 steps, of which 2 are trained (1 forward, 2 backward) and anchored
    assert cost.images == 16
    assert cost.rollout_evaluations == 16 * 5
    assert cost.training_evaluations == 16 * 2 * 3
    assert cost.kl_evaluations == 16 * 2
    assert cost.evaluations == 80 + 96 + 32
    assert cost.seconds > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guidance": 2.0},
        {"inner_epochs": 2},
        {"algorithm": "ddpo"},
        {"algorithm": "nft", "guidance": 2.0},
        {"algorithm": "draft"},
        {"kl_weight": 0.0, "kl_target": float("inf")},  # no anchor, no budget: no reference
    ],
)
def test_a_run_evaluates_what_was_estimated(
    changes: dict,
    tiny_generator: Generator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path: Path,
) -> None:
    config = small(**changes)
    cost = estimate(config, tiny_generator, tiny_generator.conditioner(prompts))
    seen = {"forward": 0, "forward and backward": 0}

    def count(unet: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kind = "forward and backward" if torch.is_grad_enabled() else "forward"
        seen[kind] += len(inputs[0])

    tiny_generator.denoiser.unet.register_forward_pre_hook(count)
    train(tiny_generator, prompts, brightness, config, folder=tmp_path, report=lambda health: None)
    assert seen["forward"] == cost.rollout_evaluations + cost.kl_evaluations
    assert 3 * seen["forward and backward"] == cost.training_evaluations
