"""What fine-tuning's tests share with RL's."""

from tests.generators.rl.conftest import brightness, prompts, small

__all__ = ["brightness", "prompts", "small"]
