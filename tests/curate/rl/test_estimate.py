from collections.abc import Callable

from torch import nn

from curate.rl.config import RLConfig
from curate.rl.estimate import estimate
from curate.rl.rollouts import Reward
from curate.rl.training import train
from generators.base import Generator, Prompt

Small = Callable[..., RLConfig]


def test_the_estimate_counts_what_the_run_evaluates(
    tiny_generator: Generator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path_factory: "object",
) -> None:
    for config in (small(), small(guidance=2.0, inner_epochs=2, window_size=5)):
        expected = estimate(config, tiny_generator, tiny_generator.conditioner(prompts))
        assert expected.images == 16
        assert expected.seconds > 0

    once = estimate(small(), tiny_generator, tiny_generator.conditioner(prompts))
    # 2 updates of 8 images; 5 steps each, of which 2 are trained (forward 1, backward 2) and anchored
    assert once.rollout_evaluations == 16 * 5
    assert once.training_evaluations == 16 * 2 * 3
    assert once.kl_evaluations == 16 * 2
    assert once.evaluations == 80 + 96 + 32
