from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.errors import GeneratorError
from generators.rl.advantages import group_advantages
from generators.rl.algorithms.base import Reward
from generators.rl.algorithms.policy_gradient import StepPairs
from generators.rl.config import RLConfig
from generators.rl.loss import step_weights
from generators.rl.policy import MemoryFit, Policy
from generators.rl.training import rewarded_images
from generators.rl.update import accumulate_gradient, learn, start_predictions
from generators.training.processes import ALONE

Small = Callable[..., RLConfig]


@pytest.fixture
def first_update(
    tiny_generator: DiffusionGenerator, prompts: list[Prompt], brightness: Reward
) -> "FirstUpdate":
    """A policy before its first step, with the pairs to learn from."""

    def made(config: RLConfig, kept_images: int = 0) -> tuple[Policy, StepPairs]:
        policy = Policy(tiny_generator, config)
        policy.fit = MemoryFit(config.micro_batch, kept_images)
        rewarded = rewarded_images(policy, prompts, brightness, 0, ALONE)
        advantages = group_advantages(rewarded.mean_B, config.group_size, clip=5.0)
        pairs = rewarded.made.examples(policy, advantages.values_B)
        assert isinstance(pairs, StepPairs)
        return policy, pairs

    return made


FirstUpdate = Callable[..., tuple[Policy, StepPairs]]


def gradient_of(policy: Policy, pairs: StepPairs, kl_weight: float = 0.1) -> Tensor:
    start = start_predictions(policy, pairs)
    accumulate_gradient(policy, pairs, start, kl_weight=kl_weight)
    gradients = [weight.grad.flatten() for weight in policy.weights.named.values()]  # type: ignore[union-attr]
    policy.weights.optimizer.zero_grad()
    return torch.cat(gradients)


def test_at_the_first_step_the_ratio_is_one(small: Small, first_update: FirstUpdate) -> None:
    policy, pairs = first_update(small(guidance=2.0))
    gradient = accumulate_gradient(policy, pairs, start_predictions(policy, pairs), kl_weight=0.1)
    assert gradient.ratio_deviation < 1e-4
    assert gradient.clipped_fraction == 0.0
    assert gradient.kl == gradient.squared_change == 0.0


def test_log_probabilities_agree_with_diffusers_and_torch(
    small: Small, first_update: FirstUpdate
) -> None:
    policy, pairs = first_update(small(window_size=5, rollout_batch=1))  # as diffusers, below
    gradient = accumulate_gradient(policy, pairs, start_predictions(policy, pairs), kl_weight=0.0)
    scheduler = DDIMScheduler.from_config(dict(policy.generator.process.config))
    scheduler.set_timesteps(5)
    expected = []
    for row in range(len(pairs.t_N)):
        t = int(pairs.t_N[row])
        x_t, x_next = pairs.x_t[row : row + 1], pairs.x_next[row : row + 1]
        tokens = pairs.conditions.select([row]).parts["tokens"]
        with torch.no_grad():
            prediction = policy.generator.denoiser.network(x_t, t, tokens).sample
        noiseless = torch.zeros_like(x_t)
        mean = scheduler.step(prediction, t, x_t, eta=1.0, variance_noise=noiseless).prev_sample
        std = scheduler._get_variance(t, t - 200) ** 0.5
        expected.append(torch.distributions.Normal(mean, std).log_prob(x_next).mean())
    assert gradient.ratio_deviation < 1e-4
    torch.testing.assert_close(pairs.log_probs_N, torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_micro_batches_do_not_change_the_gradient(small: Small, first_update: FirstUpdate) -> None:
    policy, pairs = first_update(small(micro_batch=100))
    whole = gradient_of(policy, pairs)
    policy.fit = MemoryFit(micro_batch=5)  # 16 pairs: 5, 5, 5 and 1
    in_parts = gradient_of(policy, pairs)
    assert whole.norm() > 1e-3
    assert (whole - in_parts).norm() < 1e-6 * whole.norm()


@pytest.mark.parametrize("kept_images", [8, 4])
@pytest.mark.parametrize("changes", [{"guidance": 2.0}, {"algorithm": "ddpo", "lora_rank": 0}])
def test_what_the_rollout_predicted_gives_the_gradient_of_predicting_it_again(
    changes: dict, kept_images: int, small: Small, first_update: FirstUpdate
) -> None:
    config = small(rollout_batch=4, **changes)
    policy, pairs = first_update(config, kept_images=kept_images)
    num_kept = sum(len(kept.rows) for kept in pairs.kept)
    assert num_kept == kept_images * config.num_trained_steps
    from_rollout = gradient_of(policy, pairs)
    assert not pairs.kept  # and their memory with them
    again = gradient_of(policy, pairs)
    assert again.norm() > 1e-3
    assert (from_rollout - again).norm() < 1e-5 * again.norm()


def test_out_of_memory_it_goes_on_in_smaller_passes_to_the_same_gradient(
    small: Small, first_update: FirstUpdate
) -> None:
    policy, pairs = first_update(small(micro_batch=16), kept_images=8)
    enough = gradient_of(policy, replace(pairs, kept=[]))

    def refuse(unet: object, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and len(inputs[0]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def refuse_backward(gradient: Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    hook = policy.generator.denoiser.network.register_forward_pre_hook(refuse)
    pairs.kept[0].prediction.register_hook(refuse_backward)
    found = gradient_of(policy, pairs)
    assert policy.fit == MemoryFit(micro_batch=4)  # nothing kept, then 16, 8, 4
    assert (found - enough).norm() < 1e-5 * enough.norm()
    hook.remove()
    policy.generator.denoiser.network.register_forward_pre_hook(fail_always)
    with pytest.raises(GeneratorError, match="Not enough memory to train on a single"):
        gradient_of(policy, pairs)


def fail_always(unet: object, inputs: object) -> None:
    if torch.is_grad_enabled():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_on_policy_the_gradient_is_reinforces_over_all_steps(
    small: Small, first_update: FirstUpdate
) -> None:
    """K = S: the sum over every noisy step, each written out, is what one update accumulates."""
    policy, pairs = first_update(small(window_size=5))
    ours = gradient_of(policy, pairs, kl_weight=0.0)
    scheduler = DDIMScheduler.from_config(dict(policy.generator.process.config))
    scheduler.set_timesteps(5)
    t_4, t_next_4 = pairs.t_N[:4], pairs.t_next_N[:4]
    weights_4 = step_weights(policy.generator.process, t_4, t_next_4, eta=1.0)
    for step, t in enumerate(t_4.tolist()):
        rows = slice(step, None, 4)
        x_t, x_next = pairs.x_t[rows], pairs.x_next[rows]
        tokens = pairs.conditions.select(torch.arange(8) * 4 + step).parts["tokens"]
        prediction = policy.generator.denoiser.network(x_t, t, tokens).sample
        noiseless = torch.zeros_like(x_t)
        mean = scheduler.step(prediction, t, x_t, eta=1.0, variance_noise=noiseless).prev_sample
        std = scheduler._get_variance(t, t - 200) ** 0.5
        log_probs_B = torch.distributions.Normal(mean, std).log_prob(x_next).flatten(1).sum(dim=1)
        loss = -(log_probs_B * pairs.advantages_N[rows]).sum() * weights_4[step] / 32
        loss.backward()
    theirs = torch.cat([weight.grad.flatten() for weight in policy.weights.named.values()])  # type: ignore[union-attr]
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_a_half_precision_rollout_leaves_the_ratio_at_one(
    small: Small, first_update: FirstUpdate
) -> None:
    policy, pairs = first_update(small(rollout_dtype="bfloat16"))
    gradient = accumulate_gradient(policy, pairs, start_predictions(policy, pairs), kl_weight=0.0)
    assert gradient.ratio_deviation > 1e-6  # the two passes differ, and that is reported
    assert gradient.clipped_fraction == 0.0  # but the training pass is its own denominator


def test_from_the_second_inner_epoch_on_the_clip_acts(
    small: Small, first_update: FirstUpdate
) -> None:
    once, pairs = first_update(small(lora_rank=0, learning_rate=1e-3))
    assert learn(once, pairs, kl_weight=0.0).clipped_fraction == 0.0
    config = small(lora_rank=0, learning_rate=1e-3, inner_epochs=3, clip_sum=1e-3)
    once.config = config
    again = replace(pairs, clip=config.clip_sum / pairs.scale)  # replaced: on policy once more
    assert learn(once, again, kl_weight=0.0).clipped_fraction > 0.5


def test_the_anchor_pulls_back_to_the_start(small: Small, first_update: FirstUpdate) -> None:
    policy, pairs = first_update(small(kl_target=1e6))
    for _ in range(3):
        learn(policy, replace(pairs), kl_weight=0.0)
    adrift = learn(policy, replace(pairs), kl_weight=0.0).gradient
    for _ in range(10):
        anchored = learn(policy, replace(pairs), kl_weight=1e4).gradient
    assert anchored.kl is not None and adrift.kl is not None
    assert 0 < anchored.kl < 0.5 * adrift.kl
    assert anchored.squared_change < 0.5 * adrift.squared_change


def test_an_overspent_budget_moves_nothing(small: Small, first_update: FirstUpdate) -> None:
    policy, pairs = first_update(small(kl_target=1e-9))
    assert not learn(policy, pairs, kl_weight=0.0).stopped  # at the start the KL is 0
    before = {name: weight.detach().clone() for name, weight in policy.weights.named.items()}
    assert learn(policy, pairs, kl_weight=0.0).stopped
    assert all(torch.equal(weight, before[name]) for name, weight in policy.weights.named.items())
