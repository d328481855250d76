from collections.abc import Callable
from pathlib import Path

import pytest

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.config import RLConfig
from generators.rl.peers.trl_ddpo import BEGUN, train_with_trl
from generators.rl.training import Conduct, Rollouts


def test_a_run_that_trl_was_stopped_in_is_not_begun_anew_unasked(
    tiny_generator: DiffusionGenerator,
    prompts: list[Prompt],
    brightness: Reward,
    small: Callable[..., RLConfig],
    tmp_path: Path,
) -> None:
    (tmp_path / BEGUN).write_text("1 of 2\n")
    with pytest.raises(GeneratorError, match="stopped after update 1 of 2.* use --algorithm ddpo"):
        train_with_trl(
            tiny_generator,
            Rollouts(prompts, brightness),
            small(algorithm="trl-ddpo"),
            Conduct(tmp_path, lambda health: None),
        )
