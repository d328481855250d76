from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.process import VariancePreserving
from generators.rl.algorithms.base import Reward, UpdateBatch
from generators.rl.algorithms.draft import Finished, draft
from generators.rl.config import RLConfig
from generators.rl.policy import Policy
from generators.rl.training import Conduct, Rollouts, train
from generators.rl.update import accumulate_gradient, start_predictions
from tests.generators.rl.planted import brightness_of_fresh_images, standard_errors

Small = Callable[..., RLConfig]


def batch_of(generator: DiffusionGenerator, prompts: list[Prompt], reward: Reward) -> UpdateBatch:
    prompts_B = [prompt for prompt in prompts[:2] for _ in range(4)]
    return UpdateBatch(prompts_B, generator.conditioner(prompts_B), range(8), 0, reward)


def gradient_norm(policy: Policy, made: Finished) -> float:
    examples = made.examples(policy, torch.zeros(8))
    accumulate_gradient(policy, examples, start_predictions(policy, examples), kl_weight=0.0)
    gradients = [weight.grad for weight in policy.weights.named.values() if weight.grad is not None]
    policy.weights.optimizer.zero_grad()
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


def test_the_last_step_is_far_from_done_whatever_the_spacing(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt], brightness: Reward
) -> None:
    """With leading spacing the last timestep is 1: no gradient reaches the denoiser."""
    config = tiny_generator.process.config
    leading = VariancePreserving.from_config({**config, "timestep_spacing": "leading"})
    assert leading.timesteps(5)[-1] == 1
    assert leading.trailing().timesteps(5)[-1] == 199
    tiny_generator.process = leading
    policy = Policy(tiny_generator, small(algorithm="draft"))
    made = draft(policy, batch_of(tiny_generator, prompts, brightness))
    assert made.last_timestep == 199
    assert gradient_norm(policy, made) > 20 * gradient_norm(policy, replace(made, last_timestep=1))


def test_a_predicted_image_is_what_the_samplers_last_step_makes(
    tiny_generator: DiffusionGenerator,
) -> None:
    x_t, prediction = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t_B, end_B = torch.tensor([199, 399, 599]), torch.full((3,), -1)
    for prediction_type in ("epsilon", "v_prediction"):
        changes = {"prediction_type": prediction_type, "set_alpha_to_one": True}
        schedule = VariancePreserving.from_config({**tiny_generator.process.config, **changes})
        mean, _ = schedule.step(prediction, x_t, t_B, end_B, 0.0)
        ours = schedule.to_clean(prediction, x_t, t_B)
        torch.testing.assert_close(ours, mean, rtol=1e-5, atol=1e-5)


def test_doubt_counts_against_an_image(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    def doubtful(images: Tensor, of: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        mean_B = images.mean(dim=(1, 2, 3))
        return mean_B, 2 * mean_B

    config = small(algorithm="draft", spread_penalty=1.0)
    policy = Policy(tiny_generator, config)
    examples = draft(policy, batch_of(tiny_generator, prompts, doubtful)).examples(
        policy, torch.zeros(8)
    )
    rows = torch.arange(16)
    start = start_predictions(policy, examples)
    assert start is not None
    loss = examples.loss(start, start, rows).loss.item()
    latents = tiny_generator.process.to_clean(start, examples.x_t, examples.t_N)
    images = tiny_generator.codec.decode(latents)
    assert loss == pytest.approx(images.mean().item(), rel=1e-5)  # -(mean - 2 mean)


@pytest.mark.slow
def test_images_move_to_where_the_rewards_gradient_leads(
    tiny_generator: DiffusionGenerator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path: Path,
) -> None:
    config = small(
        algorithm="draft",
        num_updates=5,
        lora_targets="attention+convolutions",
        kl_target=100.0,
    )
    before_B = brightness_of_fresh_images(tiny_generator, prompts, "ddim")
    history = train(
        tiny_generator,
        Rollouts(prompts, brightness),
        config,
        Conduct(tmp_path, lambda health: None),
    ).history
    gained_B = brightness_of_fresh_images(tiny_generator, prompts, "ddim") - before_B
    assert standard_errors(gained_B) > 5
    assert history[0].kl is None and history[0].squared_change == 0.0
