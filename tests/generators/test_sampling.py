import dataclasses
import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from generators.base import Conditions, Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.diffusion.guidance import predict
from generators.diffusion.networks import UNet
from generators.diffusion.process import VariancePreserving
from generators.diffusion.rollout import log_prob, rollout
from generators.diffusion.samplers import initial_noise, step_noise
from tests.generators.replayed import step_log_prob
from tests.tiny import SCHEDULE

# diffusers' multistep solvers hand tensors to numpy in a way that numpy 2 is about to refuse
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FOUR_STEPS = SamplingSettings(num_steps=4, batch_size=4)
PROMPTS = [
    Prompt("OCT", "drusen"),
    Prompt("CXR", "normal"),
    Prompt("Fundus", "healthy"),
    Prompt("OCT", "normal"),
    Prompt("BrainMRI", "glioma"),
    Prompt("ChestCT", "benign nodule"),
]


def with_schedule(generator: DiffusionGenerator, **changes: object) -> DiffusionGenerator:
    schedule = VariancePreserving.from_config({**SCHEDULE, **changes})
    return dataclasses.replace(generator, process=schedule)


def test_noise_depends_on_its_own_seed_and_step_only() -> None:
    alone = step_noise([7], 3, (4, 8, 8))[0]
    assert torch.equal(step_noise([1, 7], 3, (4, 8, 8))[1], alone)
    assert not torch.equal(step_noise([7], 4, (4, 8, 8))[0], alone)
    assert not torch.equal(step_noise([8], 3, (4, 8, 8))[0], alone)
    assert not torch.equal(initial_noise([7], (4, 8, 8))[0], step_noise([7], 0, (4, 8, 8))[0])


def test_noise_is_standard_normal_and_unrelated_between_neighbouring_seeds() -> None:
    noise = initial_noise(range(64), (4, 8, 8)).flatten(1)
    assert noise.mean().abs() < 4 / math.sqrt(noise.numel())
    assert noise.std() == pytest.approx(1, abs=0.02)
    correlations = torch.corrcoef(noise) - torch.eye(64)
    assert correlations.abs().max() < 5 / math.sqrt(noise.shape[1])


def test_noise_is_the_same_in_every_version_of_curate() -> None:
    first_four = initial_noise([0], (4, 8, 8))[0, 0, 0, :4]
    remembered = torch.tensor([1.6377158, 0.3111353, -0.3320644, 0.7155681])
    torch.testing.assert_close(first_four, remembered, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "unipc"])
def test_an_image_is_bitwise_the_same_whatever_its_neighbours_order_and_padding(
    tiny_generator: DiffusionGenerator, sampler: str, guidance: float
) -> None:
    settings = SamplingSettings(num_steps=3, batch_size=4, sampler=sampler, guidance=guidance)
    conditions = tiny_generator.conditioner(PROMPTS)
    seeds = [0, 1, 2, 3, 4, 5]  # a full batch, and one padded with two rows
    latents = sample(tiny_generator, conditions, seeds, settings)
    images = decode(tiny_generator, latents, 4)
    for order in ([5, 3, 1, 0, 2, 4], [2], [4, 4, 4, 4, 4, 1]):
        fresh = tiny_generator.conditioner([PROMPTS[row] for row in order])
        again = sample(tiny_generator, fresh, [seeds[row] for row in order], settings)
        assert torch.equal(again, latents[order])
        assert torch.equal(decode(tiny_generator, again, 4), images[order])


def test_random_steps_do_not_depend_on_neighbours_either(
    tiny_generator: DiffusionGenerator,
) -> None:
    settings = SamplingSettings(num_steps=3, batch_size=4, eta=1.0)
    conditions = tiny_generator.conditioner(PROMPTS)
    latents = sample(tiny_generator, conditions, [9] * 6, settings)
    order = [3, 5, 0]
    again = sample(tiny_generator, conditions.select(order), [9] * 3, settings)
    assert torch.equal(again, latents[order])
    assert not torch.equal(latents[0], latents[3])  # one seed, two prompts


class InFloat64(UNet):
    """Float sums of another batch shape differ: in float64 not so much as shows in float32."""

    def forward(self, x_t: Tensor, t_B: Tensor, conditions: Conditions) -> Tensor:
        return super().forward(x_t.double(), t_B, conditions.to("cpu", torch.float64))


def in_float64(generator: DiffusionGenerator) -> DiffusionGenerator:
    network = generator.denoiser.network.double()
    return dataclasses.replace(generator, denoiser=InFloat64(network))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("spacing", "offset", "alpha_one"),
    [("trailing", 1, False), ("leading", 1, False), ("leading", 0, True), ("leading", 0, False)],
)
def test_ddim_is_diffusers_ddim(
    tiny_generator: DiffusionGenerator,
    prediction_type: str,
    eta: float,
    spacing: str,
    offset: int,
    alpha_one: bool,
) -> None:
    changes = {
        "prediction_type": prediction_type,
        "timestep_spacing": spacing,
        "steps_offset": offset,
        "set_alpha_to_one": alpha_one,
    }
    generator = in_float64(with_schedule(tiny_generator, **changes))
    settings = SamplingSettings(num_steps=5, batch_size=2, eta=eta, guidance=2.0)
    seeds = [11, 12]
    conditions = generator.conditioner(PROMPTS[:2])
    ours = sample(generator, conditions, seeds, settings)

    scheduler = DDIMScheduler(**{**SCHEDULE, **changes})
    scheduler.set_timesteps(5)
    x_t = initial_noise(seeds, (4, 8, 8))
    empty = generator.conditioner([Prompt("", "")] * 2).parts["tokens"]
    for step, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            unet, x = generator.denoiser.network, x_t.double()
            given = unet(x, t, encoder_hidden_states=conditions.parts["tokens"].double()).sample
            without = unet(x, t, encoder_hidden_states=empty.double()).sample
        guided = (without + 2.0 * (given - without)).float()
        noise = step_noise(seeds, step, (4, 8, 8))
        x_t = scheduler.step(
            guided, t, x_t, eta=eta, variance_noise=noise if eta else None
        ).prev_sample
    torch.testing.assert_close(ours, x_t, rtol=1e-5, atol=1e-5)


def test_a_pixel_model_clamps_its_predicted_images_as_diffusers_does(
    tiny_generator: DiffusionGenerator,
) -> None:
    changes = {"clip_sample": True, "clip_sample_range": 0.5, "prediction_type": "epsilon"}
    schedule = with_schedule(tiny_generator, **changes).process
    x_t, prediction = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, _ = schedule.step(prediction, x_t, torch.tensor([499]), torch.tensor([249]), 0.0)
    scheduler = DDIMScheduler(**{**SCHEDULE, **changes})
    scheduler.set_timesteps(4)
    torch.testing.assert_close(mean, scheduler.step(prediction, 499, x_t).prev_sample)


def test_dpm_plus_plus_is_diffusers_dpm_plus_plus(tiny_generator: DiffusionGenerator) -> None:
    settings = SamplingSettings(num_steps=6, batch_size=1, sampler="dpm++")
    conditions = tiny_generator.conditioner(PROMPTS[:1])
    ours = sample(tiny_generator, conditions, [5], settings)
    solver = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )
    solver.set_timesteps(6)
    x_t = initial_noise([5], (4, 8, 8))
    for t in solver.timesteps:
        with torch.no_grad():
            v = tiny_generator.denoiser.network(x_t, t, conditions.parts["tokens"]).sample
        x_t = solver.step(v, t, x_t).prev_sample
    torch.testing.assert_close(ours, x_t, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["dpm++", "unipc"])
@pytest.mark.slow
def test_higher_order_samplers_approach_the_same_image_in_fewer_steps(
    tiny_generator: DiffusionGenerator, sampler: str
) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:2])

    def sampled(name: str, num_steps: int) -> Tensor:
        settings = SamplingSettings(num_steps=num_steps, batch_size=2, sampler=name)
        return sample(tiny_generator, conditions, [0, 1], settings)

    exact = sampled("ddim", 100)
    error = (sampled(sampler, 10) - exact).square().mean()
    assert error < 0.5 * (sampled("ddim", 10) - exact).square().mean()


def test_guidance_of_one_costs_one_evaluation_and_others_one_joint_pass(
    tiny_generator: DiffusionGenerator,
) -> None:
    rows: list[int] = []
    tiny_generator.denoiser.network.register_forward_pre_hook(
        lambda unet, inputs: rows.append(len(inputs[0]))
    )
    conditions = tiny_generator.conditioner(PROMPTS[:2])
    for guidance in (1.0, 4.0):
        settings = SamplingSettings(num_steps=2, batch_size=2, guidance=guidance)
        sample(tiny_generator, conditions, [0, 1], settings)
    assert rows == [2, 2, 4, 4]


def test_progress_is_told_every_step_of_every_compute_batch(
    tiny_generator: DiffusionGenerator,
) -> None:
    told: list[int] = []
    settings = SamplingSettings(num_steps=3, batch_size=4)
    conditions = tiny_generator.conditioner(PROMPTS)
    sample(tiny_generator, conditions, range(6), settings, on_step=told.append)
    assert told == [1, 2, 3, 4, 5, 6]


def test_bfloat16_stays_inside_the_denoiser(tiny_generator: DiffusionGenerator) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:4])
    full = sample(tiny_generator, conditions, range(4), FOUR_STEPS)
    settings = dataclasses.replace(FOUR_STEPS, dtype="bfloat16")
    half = sample(tiny_generator, conditions, range(4), settings)
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())  # latents were not rounded
    assert 0 < (half - full).abs().max() < 0.1


def test_conditions_and_seeds_must_pair_up(tiny_generator: DiffusionGenerator) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:2])
    with pytest.raises(ValueError, match="2 conditions for 3 seeds"):
        sample(tiny_generator, conditions, [0, 1, 2], FOUR_STEPS)


# Rollouts


def test_a_rollout_is_random_inside_the_window_and_deterministic_outside(
    tiny_generator: DiffusionGenerator,
) -> None:
    settings = SamplingSettings(num_steps=5, batch_size=6)
    conditions = tiny_generator.conditioner(PROMPTS)
    result = rollout(tiny_generator, conditions, range(6), settings, range(1, 3))
    assert result.timesteps_K.tolist() == [799, 599]
    assert result.next_timesteps_K.tolist() == [599, 399]
    assert result.x_t.shape == result.x_next.shape == (6, 2, 4, 8, 8)
    assert result.log_probs_BK.shape == (6, 2)
    assert torch.equal(result.x_next[:, 0], result.x_t[:, 1])

    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(5)
    x_t = initial_noise(range(6), (4, 8, 8))
    for step, t in enumerate(scheduler.timesteps):
        with torch.no_grad():
            v = tiny_generator.denoiser.network(x_t, t, conditions.parts["tokens"]).sample
        noise = step_noise(range(6), step, (4, 8, 8))
        random = {"eta": 1.0, "variance_noise": noise} if step in (1, 2) else {}
        x_t = scheduler.step(v, t, x_t, **random).prev_sample
    torch.testing.assert_close(result.latents, x_t, rtol=1e-5, atol=1e-5)


def test_without_a_window_every_step_but_the_last_is_random(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:4])
    result = rollout(tiny_generator, conditions, range(4), FOUR_STEPS)
    assert result.timesteps_K.tolist() == tiny_generator.process.timesteps(4)[:3]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("alpha_one", [False, True])
def test_no_spacing_offset_or_last_alpha_makes_a_nan(
    tiny_generator: DiffusionGenerator, spacing: str, offset: int, alpha_one: bool
) -> None:
    generator = with_schedule(
        tiny_generator,
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=alpha_one,
    )
    conditions = generator.conditioner(PROMPTS[:2])
    settings = SamplingSettings(num_steps=20, batch_size=2)
    result = rollout(generator, conditions, [0, 1], settings)
    assert result.log_probs_BK.isfinite().all() and result.latents.isfinite().all()


def test_the_last_step_and_windows_outside_the_chain_are_refused(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:1])
    for window in (range(2, 4), range(0), range(-1, 2), range(0, 3, 2)):
        with pytest.raises(ValueError, match="no window inside range\\(0, 3\\)"):
            rollout(tiny_generator, conditions, [0], FOUR_STEPS, window)


def test_the_log_probability_is_the_mean_of_normal_densities() -> None:
    draws = torch.Generator().manual_seed(0)
    x_next, mean = torch.randn(2, 3, 4, 8, 8, generator=draws)
    std = torch.tensor([0.3, 0.7, 1.1]).view(3, 1, 1, 1)
    by_hand = -((x_next - mean) ** 2) / (2 * std**2) - std.log() - math.log(2 * math.pi) / 2
    found = log_prob(x_next, mean, std)
    torch.testing.assert_close(found, by_hand.mean(dim=(1, 2, 3)))
    assert found.shape == (3,)


def test_a_step_without_noise_has_no_log_probability() -> None:
    zeros = torch.zeros(2, 4, 8, 8)
    with pytest.raises(ValueError, match="no log-probability"):
        log_prob(zeros, zeros, torch.tensor([0.5, 0.0]).view(2, 1, 1, 1))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_rollouts_log_probabilities_follow_from_diffusers_own_step(
    tiny_generator: DiffusionGenerator, prediction_type: str, guidance: float
) -> None:
    generator = with_schedule(tiny_generator, prediction_type=prediction_type)
    settings = SamplingSettings(num_steps=5, batch_size=2, guidance=guidance)
    conditions = generator.conditioner(PROMPTS[:2])
    result = rollout(generator, conditions, [0, 1], settings)
    scheduler = DDIMScheduler(**{**SCHEDULE, "prediction_type": prediction_type})
    scheduler.set_timesteps(5)
    for k, t in enumerate(result.timesteps_K):
        with torch.no_grad():
            prediction = predict(generator, result.x_t[:, k], t.expand(2), conditions, settings)
        step = scheduler.step(
            prediction, t, result.x_t[:, k], eta=1.0, variance_noise=torch.zeros(2, 4, 8, 8)
        )
        std = scheduler._get_variance(t, t - 200) ** 0.5
        expected = torch.distributions.Normal(step.prev_sample, std).log_prob(result.x_next[:, k])
        torch.testing.assert_close(
            result.log_probs_BK[:, k], expected.mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4
        )


def test_on_policy_the_ratio_is_one_also_for_mixed_steps_in_one_batch(
    tiny_generator: DiffusionGenerator,
) -> None:
    settings = SamplingSettings(num_steps=6, batch_size=4, guidance=2.0)
    conditions = tiny_generator.conditioner(PROMPTS)
    result = rollout(tiny_generator, conditions, range(6), settings)
    image, step = torch.cartesian_prod(torch.arange(6), torch.arange(5)).flip(0).unbind(1)
    log_probs = step_log_prob(
        tiny_generator,
        conditions.select(image),
        result.x_t[image, step],
        result.x_next[image, step],
        result.timesteps_K[step],
        result.next_timesteps_K[step],
        settings,
    )
    ratios = (log_probs - result.log_probs_BK[image, step]).exp()
    torch.testing.assert_close(ratios, torch.ones(30), rtol=0, atol=1e-6)


def test_the_gradient_of_the_log_probability_agrees_with_finite_differences(
    tiny_generator: DiffusionGenerator,
) -> None:
    generator, settings = tiny_generator, SamplingSettings(num_steps=4, batch_size=2)
    generator.denoiser.double()
    conditions = generator.conditioner(PROMPTS[:2]).to("cpu", torch.float64)
    draws = torch.Generator().manual_seed(0)
    x_t, x_next = torch.randn(2, 2, 4, 8, 8, generator=draws, dtype=torch.float64)
    t_B, t_next_B = torch.tensor([749, 499]), torch.tensor([499, 249])
    weight = generator.denoiser.network.conv_out.weight.requires_grad_(True)

    def value() -> Tensor:
        return step_log_prob(generator, conditions, x_t, x_next, t_B, t_next_B, settings).sum()

    value().backward()
    assert weight.grad is not None
    direction = torch.randn(weight.shape, generator=draws, dtype=torch.float64)
    with torch.no_grad():
        small = 1e-5 * direction
        weight += small
        above = value()
        weight -= 2 * small
        below = value()
    slope = (weight.grad * direction).sum()
    assert slope.abs() > 1e-3
    torch.testing.assert_close((above - below) / 2e-5, slope, rtol=1e-6, atol=1e-9)


def test_a_rollouts_tensors_can_be_trained_on(tiny_generator: DiffusionGenerator) -> None:
    conditions = tiny_generator.conditioner(PROMPTS[:4])
    result = rollout(tiny_generator, conditions, range(4), FOUR_STEPS, range(1, 2))
    tiny_generator.denoiser.requires_grad_(True)
    log_probs = step_log_prob(
        tiny_generator,
        conditions,
        result.x_t[:, 0],
        result.x_next[:, 0],
        result.timesteps_K.expand(4),
        result.next_timesteps_K.expand(4),
        FOUR_STEPS,
    )
    log_probs.sum().backward()
    gradients = [weight.grad for weight in tiny_generator.denoiser.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients if gradient is not None) > 0


def test_a_rollouts_image_is_the_same_whatever_its_neighbours(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions = tiny_generator.conditioner(PROMPTS)
    whole = rollout(tiny_generator, conditions, range(6), FOUR_STEPS)
    part = rollout(tiny_generator, conditions.select([5, 2]), [5, 2], FOUR_STEPS)
    assert torch.equal(part.latents, whole.latents[[5, 2]])
    assert torch.equal(part.log_probs_BK, whole.log_probs_BK[[5, 2]])
