from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from generators.base import Conditions, Prompt, Trajectory
from generators.diffusion.generator import DiffusionGenerator, sample
from generators.rl.algorithms.base import Reward, UpdateBatch
from generators.rl.algorithms.nft import NoisedImages, goodness, nft
from generators.rl.config import RLConfig
from generators.rl.policy import Policy, rollout_settings
from generators.rl.training import Conduct, Rollouts, train
from generators.rl.update import accumulate_gradient, start_predictions
from tests.generators.rl.planted import brightness_of_fresh_images, standard_errors
from tests.tiny import tiny_generator as make_tiny_generator

Small = Callable[..., RLConfig]
SEEDS = range(100, 108)


def no_reward(images: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    raise AssertionError("nft asked for a reward")


def batch_of(generator: Trajectory, prompts: list[Prompt]) -> UpdateBatch:
    prompts_B = [prompt for prompt in prompts[:2] for _ in range(4)]
    return UpdateBatch(prompts_B, generator.conditioner(prompts_B), SEEDS, 0, no_reward)


def examples_of(policy: Policy, prompts: list[Prompt], advantages_B: Tensor) -> NoisedImages:
    made = nft(policy, batch_of(policy.generator, prompts))
    return made.examples(policy, advantages_B)


def test_images_come_from_the_deployed_sampler_and_the_old_policy(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    config = small(algorithm="nft", sampler="dpm++")
    policy = Policy(tiny_generator, config)
    batch = batch_of(tiny_generator, prompts)
    settings = rollout_settings(config, "dpm++")
    expected = sample(make_tiny_generator(), batch.conditions_B, SEEDS, settings)
    with torch.no_grad():  # what the trained policy is does not matter
        for weight in policy.weights.named.values():
            weight.add_(1.0)
    assert torch.equal(nft(policy, batch).latents, expected)


def test_an_image_is_noised_the_same_whatever_its_neighbours(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    policy = Policy(tiny_generator, small(algorithm="nft", timesteps_per_image=3))
    batch = batch_of(tiny_generator, prompts)
    whole = nft(policy, batch)
    part = replace(whole, latents=whole.latents[2:4], seeds_B=SEEDS[2:4])
    part = replace(part, conditions_B=batch.conditions_B.select([2, 3]))
    ours, theirs = (
        made.examples(policy, torch.zeros(8)[: len(made.seeds_B)]) for made in (part, whole)
    )
    assert torch.equal(ours.x_t, theirs.x_t[6:12]) and torch.equal(ours.t_N, theirs.t_N[6:12])
    thirds = (theirs.t_N.view(8, 3) * 3) // tiny_generator.process.num_train_steps
    assert torch.equal(thirds, torch.tensor([[0, 1, 2]]).expand(8, 3))  # one level in each


def test_the_loss_agrees_with_hand_arithmetic() -> None:
    one = torch.ones(1, 1, 1, 2)
    examples = NoisedImages(
        x_t=one,
        t_N=torch.tensor([5]),
        conditions=Conditions.of(modulation=torch.zeros(1, 1)),
        target=2 * one,
        old=one,
        goodness_N=torch.tensor([0.75]),
        strength=0.5,
        noise_share_N=torch.tensor([0.8]),
        guidance=1.0,
    )
    prediction = torch.full((1, 1, 1, 2), 1.4, requires_grad=True)
    loss = examples.loss(prediction, one, torch.tensor([0])).loss
    # towards: 1 + 0.5 x 0.4 = 1.2, its error -0.8: square over absolute 0.8; away: 0.8, error 1.2
    assert loss.item() == pytest.approx(0.8 * (0.75 * 0.8 + 0.25 * 1.2) / 0.5)
    loss.backward()
    # the mean over 2 elements: -0.75 x 0.5 x 2 + 0.25 x 0.5 x 2, halved; x 0.8 / 0.5
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad, torch.full((1, 1, 1, 2), -0.4))


def test_goodness_of_an_average_image_is_a_half_and_of_freaks_bounded() -> None:
    advantages_B = torch.tensor([0.0, 2.5, -2.5, 50.0, -50.0])
    expected = torch.tensor([0.5, 0.75, 0.25, 1.0, 0.0])
    assert torch.equal(goodness(advantages_B, RLConfig(advantage_clip=5.0)), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_on_policy_the_gradient_is_the_advantage_weighted_denoising_gradient(
    prediction_type: str, tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    tiny_generator.process = tiny_generator.process.predicting(prediction_type)
    policy = Policy(tiny_generator, small(algorithm="nft", advantage_clip=2.0))
    advantages_B = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0, -1.0, -1.0])
    examples = examples_of(policy, prompts, advantages_B)
    accumulate_gradient(policy, examples, start_predictions(policy, examples), kl_weight=0.0)
    ours = torch.cat([weight.grad.flatten() for weight in policy.weights.named.values()])  # type: ignore[union-attr]
    policy.weights.optimizer.zero_grad()
    conditions = examples.conditions
    prediction = tiny_generator.denoiser(examples.x_t, examples.t_N, conditions)
    error = (prediction - examples.target).flatten(1)
    weights_N = examples.noise_share_N / error.detach().abs().mean(dim=1)
    worth_N = (advantages_B / 2.0).repeat_interleave(4)
    (worth_N * weights_N * error.square().mean(dim=1)).mean().backward()
    theirs = torch.cat([weight.grad.flatten() for weight in policy.weights.named.values()])  # type: ignore[union-attr]
    assert theirs.norm() > 1e-4
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_bad_images_cannot_drive_the_weights_anywhere(
    tiny_generator: DiffusionGenerator, small: Small, prompts: list[Prompt]
) -> None:
    """All images bad, a thousand steps: a policy gradient without bounds would run away."""
    target, old = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1)
    examples = NoisedImages(
        x_t=old,
        t_N=torch.tensor([5]),
        conditions=Conditions.of(modulation=torch.zeros(1, 1)),
        target=target,
        old=old,
        goodness_N=torch.zeros(1),
        strength=1.0,
        noise_share_N=torch.ones(1),
        guidance=1.0,
    )
    prediction = old.clone().requires_grad_()
    optimizer = torch.optim.SGD([prediction], lr=0.01)
    for _ in range(1000):
        optimizer.zero_grad()
        examples.loss(prediction, old, torch.tensor([0])).loss.backward()
        optimizer.step()
    torch.testing.assert_close(prediction.detach(), 2 * old, atol=0.02, rtol=0)  # the mirror image


def test_the_old_policy_follows_slower_and_slower(
    tiny_generator: DiffusionGenerator, small: Small
) -> None:
    policy = Policy(tiny_generator, small(algorithm="nft", old_decay=0.4))
    name, weight = next(iter(policy.weights.named.items()))
    with torch.no_grad():
        weight.fill_(1.0)
        policy.trail(0)
        assert torch.equal(policy.old[name], weight)
        weight.fill_(2.0)
        policy.trail(4)
        torch.testing.assert_close(policy.old[name], torch.full_like(weight, 1.8))
        weight.fill_(2.8)
        policy.trail(100)
        torch.testing.assert_close(policy.old[name], torch.full_like(weight, 2.4))


@pytest.mark.slow
def test_images_of_the_deployed_sampler_move_to_where_the_reward_is(
    tiny_generator: DiffusionGenerator,
    small: Small,
    prompts: list[Prompt],
    brightness: Reward,
    tmp_path: Path,
) -> None:
    config = small(
        algorithm="nft",
        num_updates=4,
        group_size=16,
        rollout_batch=32,
        micro_batch=64,
        lora_rank=4,
        lora_targets="attention+convolutions",
        learning_rate=1e-2,
        kl_target=100.0,
    )
    before_B = brightness_of_fresh_images(tiny_generator, prompts)
    history = train(
        tiny_generator,
        Rollouts(prompts, brightness),
        config,
        Conduct(tmp_path, lambda health: None),
    ).history
    gained_B = brightness_of_fresh_images(tiny_generator, prompts) - before_B
    assert standard_errors(gained_B) > 5
    assert gained_B.mean() > 0.3 * before_B.std()
    assert history[0].squared_change == 0.0 and history[0].kl is None
    assert history[0].window_start is None
