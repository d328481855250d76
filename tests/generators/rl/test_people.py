"""Learning straight from what people said: ratings with `nft`, comparisons with `dpo`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from generators.base import Conditions, Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.errors import GeneratorError
from generators.rl.advantages import PromptBuffers
from generators.rl.algorithms.dpo import NoisedPairs, PreferredPairs
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.rated import RatedLatents, advantages_of_ratings
from generators.rl.training import Conduct, train
from generators.rl.update import learn
from generators.training.processes import ALONE
from tests.generators.rl.planted import brightness_of_fresh_images, standard_errors

Small = Callable[..., RLConfig]
NO_BUFFERS = PromptBuffers(0, {})


def ignore(health: object) -> None:
    """Report to nobody."""


def own_images(
    generator: DiffusionGenerator, prompts: list[Prompt], count: int
) -> tuple[Tensor, Tensor]:
    """Return latents of the generator's own images and their brightness."""
    conditions = generator.conditioner(prompts * (count // len(prompts)))
    settings = SamplingSettings(num_steps=5, sampler="dpm++", batch_size=32)
    latents = sample(generator, conditions, range(count), settings)
    return latents, decode(generator, latents, 32).mean(dim=(1, 2, 3))


@pytest.mark.slow
def test_nft_learns_from_rated_images_without_any_reward(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt], tmp_path: Path
) -> None:
    latents, brightness_N = own_images(tiny_generator, prompts, 64)
    top_N = (brightness_N > brightness_N.median()).float()  # as coarse as a rating
    source = RatedLatents(latents, prompts * 16, 2 * top_N - 1)
    config = small(
        algorithm="nft",
        num_updates=5,
        group_size=8,
        micro_batch=64,
        lora_rank=4,
        lora_targets="attention+convolutions",
        learning_rate=1e-2,
        kl_target=100.0,
        advantage_clip=1.0,
    )
    before_B = brightness_of_fresh_images(tiny_generator, prompts)
    train(tiny_generator, source, config, Conduct(tmp_path, ignore))
    gained_B = brightness_of_fresh_images(tiny_generator, prompts) - before_B
    assert standard_errors(gained_B) > 5


@pytest.mark.slow
def test_dpo_learns_from_pairs(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt], tmp_path: Path
) -> None:
    latents, brightness_N = own_images(tiny_generator, prompts, 64)
    left, right = latents[:32], latents[32:]
    is_left = (brightness_N[:32] > brightness_N[32:]).view(-1, 1, 1, 1)
    source = PreferredPairs(
        better=torch.where(is_left, left, right),
        worse=torch.where(is_left, right, left),
        prompts=prompts * 8,
    )
    config = small(
        algorithm="dpo",
        num_updates=7,
        group_size=16,
        micro_batch=64,
        lora_rank=4,
        lora_targets="attention+convolutions",
        learning_rate=2e-2,
        kl_target=100.0,
        dpo_strength=200.0,
    )
    before_B = brightness_of_fresh_images(tiny_generator, prompts)
    history = train(tiny_generator, source, config, Conduct(tmp_path, ignore)).history
    gained_B = brightness_of_fresh_images(tiny_generator, prompts) - before_B
    assert standard_errors(gained_B) > 5
    assert history[0].loss == pytest.approx(0.6931472, rel=1e-5)  # undecided at the start: log 2


def test_dpos_loss_agrees_with_the_papers_formula() -> None:
    """Wallace et al. 2024, equation 14, written out for one pair at one noise level."""
    prediction, start, target = torch.randn(
        3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)
    )
    pairs = NoisedPairs(
        x_t=target,
        t_N=torch.tensor([5, 5]),
        conditions=Conditions.of(modulation=torch.zeros(2, 1)),
        target=target,
        strength=3.0,
        guidance=1.0,
    )
    better, worse = [
        functional.mse_loss(prediction[row], target[row])
        - functional.mse_loss(start[row], target[row])
        for row in (0, 1)
    ]
    expected = -functional.logsigmoid(-3.0 / 2 * (better - worse))
    loss = pairs.loss(prediction, start, torch.arange(2)).loss
    torch.testing.assert_close(loss, expected)


def test_both_images_of_a_pair_get_the_same_noise_and_stay_together(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    config = small(algorithm="dpo", micro_batch=5, minibatches=2)
    policy = Policy(tiny_generator, config)
    same = torch.randn(4, 4, 8, 8)
    source = PreferredPairs(same, same, prompts)
    lesson = source.lesson(policy, 0, NO_BUFFERS, ALONE)
    examples = lesson.made.examples(policy, lesson.advantages_B)
    assert torch.equal(examples.x_t[0::2], examples.x_t[1::2])
    assert torch.equal(examples.t_N[0::2], examples.t_N[1::2])
    assert learn(policy, examples, kl_weight=0.0).gradient_norm < 1e-6  # equal: nothing to prefer


def test_a_raters_severity_and_scale_do_not_matter() -> None:
    prompts = ["a", "a", "a", "b", "b", "b"]
    mild, strict = [2.0, 3.0, 3.0, 1.0, 3.0, 3.0], [1.0, 2.0, 2.0, 0.0, 2.0, 2.0]
    advantages_N = advantages_of_ratings(
        [*mild, *strict],
        ["mild"] * 6 + ["strict"] * 6,
        [*range(6), *range(6)],
        prompts,
        [False] * 6,
        clip=5.0,
    )
    alone_N = advantages_of_ratings(mild, ["mild"] * 6, range(6), prompts, [False] * 6, clip=5.0)
    torch.testing.assert_close(advantages_N, alone_N)
    assert advantages_N[:3].sum() == pytest.approx(0.0, abs=1e-6)  # within the prompt
    assert advantages_N[3] < advantages_N[0] < 0 < advantages_N[1]


def test_real_images_are_never_pushed_away_from() -> None:
    values, images = [1.0, 3.0, 2.0, 3.0], [0, 1, 2, 3]
    prompts = ["a"] * 4
    made = advantages_of_ratings(values, ["r"] * 4, images, prompts, [False] * 4, clip=5.0)
    real = advantages_of_ratings(values, ["r"] * 4, images, prompts, [True] * 4, clip=5.0)
    assert made[0] < 0 and torch.equal(real, made.clamp(min=0))


def test_ratings_that_tell_no_images_apart_are_refused() -> None:
    with pytest.raises(GeneratorError, match="within each prompt all are rated alike"):
        advantages_of_ratings(
            [1.0, 1.0, 3.0, 3.0], ["r"] * 4, [0, 1, 2, 3], ["a", "a", "b", "b"], [False] * 4, clip=5
        )


def test_every_rated_image_comes_up_and_with_new_noise_each_time(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    policy = Policy(tiny_generator, small(algorithm="nft"))
    latents = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 4, 8, 8)
    source = RatedLatents(latents, prompts, torch.arange(4.0))
    lessons = [source.lesson(policy, update, NO_BUFFERS, ALONE) for update in range(2)]
    drawn = torch.stack([lesson.made.latents[:, 0, 0, 0] for lesson in lessons])
    assert drawn.shape == (2, 8)  # 8 images an update: all four, twice
    assert torch.equal(
        drawn.sort(dim=1).values, torch.arange(4.0).repeat_interleave(2).expand(2, 8)
    )
    assert all(torch.equal(lesson.advantages_B, drawn[i]) for i, lesson in enumerate(lessons))
    first, second = (lesson.made.examples(policy, lesson.advantages_B) for lesson in lessons)
    assert not torch.equal(first.x_t, second.x_t)
