import pytest
import torch
from diffusers import DDIMScheduler

from generators.diffusion.process import VariancePreserving
from generators.diffusion.rollout import log_prob
from generators.rl.loss import clipped_policy_loss, exact_kl, step_weights


def make_schedule(prediction_type: str) -> VariancePreserving:
    return VariancePreserving.from_config(
        {
            "num_train_timesteps": 1000,
            "beta_schedule": "linear",
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "prediction_type": prediction_type,
            "set_alpha_to_one": False,
            "steps_offset": 1,
            "timestep_spacing": "trailing",
        }
    )


def test_beyond_the_clip_range_a_good_image_earns_no_more() -> None:
    log_probs_N = torch.full((4,), 0.5, requires_grad=True)
    result = clipped_policy_loss(
        log_probs_N, torch.zeros(4), torch.ones(4), torch.ones(4), clip=0.2
    )
    result.loss.backward()
    assert result.loss.item() == pytest.approx(-1.2)  # worked out by hand
    assert log_probs_N.grad is not None
    assert torch.equal(log_probs_N.grad, torch.zeros(4))  # the gradient, not just the number
    assert result.clipped_fraction == 1.0


def test_beyond_the_clip_range_a_bad_image_is_still_pushed_away() -> None:
    log_probs_N = torch.full((1,), 0.5, requires_grad=True)
    result = clipped_policy_loss(
        log_probs_N, torch.zeros(1), -torch.ones(1), torch.ones(1), clip=0.2
    )
    result.loss.backward()
    assert result.loss.item() == pytest.approx(1.6487213)  # e ** 0.5, not clipped to 1.2
    assert log_probs_N.grad is not None
    assert log_probs_N.grad.item() == pytest.approx(1.6487213)


def test_inside_the_clip_range_the_gradient_is_minus_ratio_times_advantage_times_weight() -> None:
    log_probs_N = torch.tensor([0.1, 0.0], requires_grad=True)
    result = clipped_policy_loss(
        log_probs_N,
        torch.zeros(2),
        torch.tensor([2.0, -3.0]),
        torch.tensor([0.5, 1.5]),
        clip=0.2,
    )
    result.loss.backward()
    # halved by the mean over two pairs: -2 x e ** 0.1 x 0.5 / 2, and 3 x 1 x 1.5 / 2
    assert log_probs_N.grad is not None
    torch.testing.assert_close(log_probs_N.grad, torch.tensor([-0.5525855, 2.25]))
    assert result.clipped_fraction == 0.0


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_weighted_steps_pull_equally(prediction_type: str) -> None:
    schedule = make_schedule(prediction_type)
    t_K, t_next_K = torch.tensor([799, 399, 199]), torch.tensor([599, 199, -1])
    weights_K = step_weights(schedule, t_K, t_next_K, eta=1.0)
    # the pull: how much a step's log-probability moves with the prediction, by autograd
    pulls = []
    for t, t_next in zip(t_K, t_next_K, strict=True):
        prediction = torch.zeros(1, 512, dtype=torch.float64, requires_grad=True)
        x_t, z = torch.randn(2, 1, 512, dtype=torch.float64)
        mean, std = schedule.step(prediction, x_t, t[None], t_next[None], 1.0)
        log_prob((mean + std * z).detach(), mean, std).sum().backward()
        assert prediction.grad is not None
        pulls.append(prediction.grad.norm() / z.norm())
    pulls_K = torch.stack(pulls).float()
    assert pulls_K.max() > 1.5 * pulls_K.min()  # unweighted they do not
    torch.testing.assert_close(
        weights_K * pulls_K, (weights_K * pulls_K).mean().expand(3), rtol=1e-4, atol=0
    )
    assert weights_K.mean().item() == pytest.approx(1.0)


def test_the_reported_kl_equals_torchs_and_is_zero_at_the_start() -> None:
    schedule = make_schedule("v_prediction")
    x_t, start, prediction = torch.randn(3, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t_N, t_next_N = torch.tensor([999, 799, 599, 399, 199]), torch.tensor([799, 599, 399, 199, -1])
    start_mean, std = schedule.step(start, x_t, t_N, t_next_N, 1.0)
    mean, _ = schedule.step(prediction, x_t, t_N, t_next_N, 1.0)
    # independent: diffusers' own step for the means, torch.distributions for the divergence
    scheduler = DDIMScheduler.from_config(dict(schedule.config))
    scheduler.set_timesteps(5)
    expected = []
    for index, t in enumerate(scheduler.timesteps):
        row = slice(index, index + 1)
        normals = []
        for guess in (prediction[row], start[row]):
            noiseless = torch.zeros_like(guess)
            step = scheduler.step(guess, t, x_t[row], eta=1.0, variance_noise=noiseless)
            variance = scheduler._get_variance(int(t), int(t) - 200)
            normals.append(torch.distributions.Normal(step.prev_sample, variance**0.5))
        expected.append(torch.distributions.kl_divergence(*normals).sum())
    kl = torch.stack(expected).mean().item()
    assert exact_kl(mean, start_mean, std) == pytest.approx(kl, rel=1e-4)
    assert exact_kl(start_mean, start_mean, std) == 0.0
