"""A planted reward and small settings, so that RL is watched learning in seconds."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from generators.base import Prompt
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig


@pytest.fixture
def prompts() -> list[Prompt]:
    """Four prompts that the tiny generator reads."""
    return [
        Prompt("OCT", "drusen"),
        Prompt("CXR", "normal"),
        Prompt("Fundus", "normal"),
        Prompt("BrainMRI", "healthy"),
    ]


@pytest.fixture
def brightness() -> Reward:
    """Brighter images earn more, without doubt."""

    def reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        return mean_B, torch.zeros_like(mean_B)

    return reward


@pytest.fixture
def small() -> Callable[..., RLConfig]:
    """Settings for two quick updates of eight images, and what a test changes of them."""

    def settings(**changes: Any) -> RLConfig:
        few: dict[str, Any] = {
            "num_updates": 2,
            "prompts_per_update": 2,
            "group_size": 4,
            "num_steps": 5,
            "rollout_batch": 8,
            "micro_batch": 6,  # does not divide the 16 pairs
            "lora_rank": 2,
            "learning_rate": 1e-2,
        }
        return RLConfig(**{**few, **changes})

    return settings
