import dataclasses

import pytest

from generators.errors import GeneratorError
from generators.rl import config
from generators.rl.config import RLConfig


def test_more_trained_steps_than_sampled_ones_are_refused() -> None:
    with pytest.raises(GeneratorError, match=r"window_size lies in 1 \.\. num_steps \(10\)"):
        RLConfig(num_steps=10, window_size=11)


@pytest.mark.parametrize(
    "broken",
    [
        {"algorithm": "ppo"},
        {"num_updates": 0},
        {"group_size": 1},
        {"window_size": 0},
        {"window_start": 8},  # of 10 steps with a window of 2 the last has no noise
        {"learning_rate": 0.0},
        {"kl_weight": -0.1},
        {"ema_decay": 1.0},
        {"training_dtype": "float64"},
        {"micro_batch": -1},
        {"sampler": "heun"},
        {"lora_targets": "everything"},
        {"nft_strength": 0.0},
        {"old_decay": 1.0},
        {"timesteps_per_image": 0},
        {"algorithm": "draft", "kl_weight": 0.0},
        {"algorithm": "dpo", "prompts_per_update": 3, "group_size": 3},
    ],
)
def test_settings_that_cannot_be_run_are_refused(broken: dict) -> None:
    with pytest.raises(GeneratorError, match="cannot be run"):
        RLConfig(**broken)


def test_the_noiseless_last_step_is_never_trained() -> None:
    assert RLConfig(num_steps=10, window_size=10).num_trained_steps == 9
    assert RLConfig(num_steps=10, window_size=9).num_trained_steps == 9
    assert RLConfig(num_steps=10, window_size=2, window_start=7).num_trained_steps == 2


def test_names_are_those_of_the_places_that_know_them() -> None:
    from generators.config import SAMPLERS
    from generators.lora import TARGETS
    from generators.rl.algorithms.registry import algorithm_named

    assert config.SAMPLERS == SAMPLERS and config.LORA_TARGETS == tuple(TARGETS)
    for name in set(config.ALGORITHMS) - {"dpo", "trl-ddpo"}:  # those make no images themselves
        assert callable(algorithm_named(name))


def test_few_images_an_update_are_a_concern_but_run() -> None:
    assert RLConfig(prompts_per_update=8, group_size=8).concerns() == []
    (concern,) = RLConfig(prompts_per_update=2, group_size=4).concerns()
    assert concern.startswith("8 images an update; below 64")


def test_settings_survive_json() -> None:
    settings = RLConfig(window_start=1, learning_rate=1e-3)
    assert RLConfig.from_json(settings.to_json()) == settings
    assert dataclasses.replace(settings, seed=1) != settings
