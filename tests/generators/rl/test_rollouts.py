from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generators.base import Conditioner, Conditions, Prompt
from generators.codec import PixelCodec
from generators.diffusion.generator import DiffusionGenerator, decode
from generators.diffusion.rollout import rollout
from generators.errors import GeneratorError
from generators.rl.algorithms.base import Reward
from generators.rl.algorithms.policy_gradient import RandomSteps, window_of_update
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, rollout_settings
from generators.rl.source import prompts_of_update, rollout_seed
from generators.rl.training import Rewarded, rewarded_images
from generators.sample import Sample
from generators.training.processes import ALONE
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]


def test_every_prompt_comes_up_equally_often(small: Small) -> None:
    config = small(prompts_per_update=4)
    drawn = [prompts_of_update(6, config, update) for update in range(3)]  # 12 = twice 6
    assert Counter(prompt for update in drawn for prompt in update) == dict.fromkeys(range(6), 2)
    assert drawn != [prompts_of_update(6, small(prompts_per_update=4, seed=1), u) for u in range(3)]


def test_windows_lie_in_the_noisier_half_and_move(small: Small) -> None:
    windows = [window_of_update(small(num_steps=10), update) for update in range(40)]
    assert {window.start for window in windows} == {0, 1, 2, 3}
    assert {len(window) for window in windows} == {2}
    fixed = small(num_steps=10, window_start=6)
    assert window_of_update(fixed, 3) == range(6, 8)


@pytest.mark.parametrize("settings", [{"window_size": 5}, {"algorithm": "ddpo"}])
def test_a_window_of_all_steps_is_plain_ddpo(
    settings: dict,
    small: Small,
    tiny_generator: DiffusionGenerator,
    prompts: list[Prompt],
    brightness: Reward,
) -> None:
    config = small(**settings)
    assert window_of_update(config, 0) == range(4)  # the fifth step has no noise
    made = _first_update(tiny_generator, prompts, brightness, config).made
    assert isinstance(made, RandomSteps)
    seeds = [rollout_seed(config, 0, index) for index in range(8)]
    ddpo = rollout(tiny_generator, made.conditions_B, seeds, rollout_settings(config), None)
    assert torch.equal(made.latents, ddpo.latents)
    assert torch.equal(made.rollout.log_probs_BK, ddpo.log_probs_BK)


def test_no_two_images_share_a_seed(small: Small) -> None:
    seeds = [
        rollout_seed(small(seed=seed), update, index)
        for seed in range(3)
        for update in range(12)
        for index in range(12)
    ]
    assert len(set(seeds)) == 3 * 12 * 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_siblings_are_rewarded_for_their_own_prompt(
    small: Small, tiny_generator: DiffusionGenerator, prompts: list[Prompt]
) -> None:
    seen = []

    def reward(images: torch.Tensor, of: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
        seen.extend(of)
        return images.mean(dim=(1, 2, 3)), images.std(dim=(1, 2, 3))

    rewarded = _first_update(tiny_generator, prompts, reward, small())  # type: ignore[arg-type]
    first, second = prompts_of_update(4, small(), 0)
    assert seen == [prompts[first]] * 4 + [prompts[second]] * 4
    made = rewarded.made
    assert isinstance(made, RandomSteps)
    tokens, expected = (
        made.conditions_B.parts["tokens"],
        tiny_generator.conditioner(seen).parts["tokens"],
    )
    assert tokens is not None and expected is not None and torch.equal(tokens, expected)
    images = decode(tiny_generator, made.latents, 8)
    expected_B = images.mean(dim=(1, 2, 3)) - 2 * images.std(dim=(1, 2, 3))
    torch.testing.assert_close(rewarded.penalised(2.0), expected_B)


def test_a_reward_of_another_shape_is_refused(
    small: Small, tiny_generator: DiffusionGenerator, prompts: list[Prompt]
) -> None:
    with pytest.raises(GeneratorError, match=r"shape \(8, 1\).*for 8 images"):
        _first_update(
            tiny_generator, prompts, lambda i, p: (torch.zeros(8, 1), torch.zeros(8)), small()
        )


def _first_update(
    generator: DiffusionGenerator, prompts: list[Prompt], reward: Reward, config: RLConfig
) -> Rewarded:
    return rewarded_images(Policy(generator, config), prompts, reward, 0, ALONE)


class Noting:
    """A conditioner that notes which prompts it was given."""

    def __init__(self, inner: Conditioner) -> None:
        self.inner, self.encoded = inner, list[Prompt]()

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        self.encoded += prompts
        return self.inner(prompts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_an_update_encodes_its_own_prompts_and_no_others(
    small: Small, tiny_generator: DiffusionGenerator, prompts: list[Prompt], brightness: Reward
) -> None:
    tiny_generator.conditioner = noting = Noting(tiny_generator.conditioner)
    made = _first_update(tiny_generator, prompts, brightness, small())
    assert len(noting.encoded) == 2  # of four; each once for its four siblings
    assert made.made.latents.shape[0] == 8


class Stacking(Noting):
    """A conditioner that lays its prompts' masks over each other: they must be of one size."""

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        np.stack([prompt.images["mask"].array for prompt in prompts])
        return super().__call__(prompts)


def test_masks_of_several_sizes_in_one_update_are_refused_by_their_sizes(
    small: Small, prompts: list[Prompt], brightness: Reward
) -> None:
    def first_update(sides: Sequence[int], config: RLConfig) -> Rewarded:
        generator = make_tiny_generator()
        generator.conditioner = Stacking(generator.conditioner)
        return _first_update(generator, masked(sides), brightness, config)

    def masked(sides: Sequence[int]) -> list[Prompt]:
        masks = [Sample(np.zeros((1, side, 8), np.uint8), "labels") for side in sides]
        return [replace(p, images={"mask": m}) for p, m in zip(prompts, masks, strict=True)]

    every = small(prompts_per_update=4)
    assert len(first_update([8] * 4, every).made.latents) == 16
    with pytest.raises(GeneratorError, match=r"sizes: mask \(16, 8\), mask \(8, 8\). Give"):
        first_update([8, 8, 16, 8], every)


def test_hu_are_shown_to_the_reward_as_hu(
    small: Small, tiny_generator: DiffusionGenerator, prompts: list[Prompt]
) -> None:
    seen: list[Tensor] = []

    def reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        seen.append(images)
        return images.mean(dim=(1, 2, 3)), torch.zeros(len(images))

    tiny_generator.codec = PixelCodec("HU", (-1024.0, 3071.0))
    _first_update(tiny_generator, prompts, reward, small())
    assert seen[0].min() < -500 and seen[0].max() > 500
