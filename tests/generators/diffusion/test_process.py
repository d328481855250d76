"""Flow matching beside diffusers' own scheduler and hand arithmetic; what is refused."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, sample
from generators.diffusion.process import FLOW, Flow, read_process
from generators.diffusion.rollout import rollout
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.training.loss import diffusion_loss, min_snr_weights
from tests.generators.replayed import log_prob_again
from tests.generators.test_sampling import PROMPTS

SETTINGS = SamplingSettings(num_steps=4, batch_size=2)


def flow(shift: float = 3.0) -> Flow:
    process = read_process({"_class_name": FLOW, "shift": shift})
    assert isinstance(process, Flow)
    return process


@pytest.fixture
def flowing(tiny_generator: DiffusionGenerator) -> DiffusionGenerator:
    return dataclasses.replace(tiny_generator, process=flow())


@pytest.mark.parametrize(
    "name", ["EDMEulerScheduler", "LCMScheduler", "FlowMatchHeunDiscreteScheduler"]
)
def test_a_scheduler_that_is_not_understood_is_refused_by_name(name: str) -> None:
    with pytest.raises(GeneratorError, match=f"scheduler is a {name}"):
        read_process({"_class_name": name})


@pytest.mark.parametrize(
    "changes",
    [{"use_dynamic_shifting": True}, {"shift_terminal": 0.1}, {"use_karras_sigmas": True}],
)
def test_flow_matching_with_other_noise_levels_is_refused_by_the_field(
    changes: dict[str, object],
) -> None:
    with pytest.raises(GeneratorError, match=next(iter(changes))):
        read_process({"_class_name": FLOW, **changes})


def test_a_diffusion_scheduler_that_predicts_flow_is_refused() -> None:
    with pytest.raises(GeneratorError, match="predicts 'flow_prediction'"):
        read_process(
            {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction"}
        )


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", [1, 4, 28])
def test_flow_is_sampled_as_diffusers_euler_does(
    tiny_generator: DiffusionGenerator, shift: float, num_steps: int
) -> None:
    generator = dataclasses.replace(tiny_generator, process=flow(shift))
    conditions = generator.conditioner(PROMPTS[:2])
    ours = sample(
        generator, conditions, [1, 2], SamplingSettings(num_steps=num_steps, batch_size=2)
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    x_t = initial_noise([1, 2], (4, 8, 8))
    for t in scheduler.timesteps:
        with torch.no_grad():
            velocity = generator.denoiser(x_t, t.expand(2), conditions)
        x_t = scheduler.step(velocity, t, x_t).prev_sample
    torch.testing.assert_close(ours, x_t, rtol=1e-4, atol=1e-4)


def test_flow_noises_as_diffusers_does() -> None:
    process, scheduler = flow(), FlowMatchEulerDiscreteScheduler(shift=3.0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t_B = scheduler.timesteps[[10, 500, 900]]
    theirs = scheduler.scale_noise(clean, t_B, noise)
    torch.testing.assert_close(process.noised(clean, noise, t_B), theirs)
    x_t, target = process.noised(clean, noise, t_B), process.target(clean, noise, t_B)
    torch.testing.assert_close(process.to_clean(target, x_t, t_B), clean, rtol=1e-4, atol=1e-4)


def test_the_random_step_of_flow_is_flow_grpos() -> None:
    """From 0.8 to 0.6 at noise level 1: worked out by hand from equation 9."""
    x_t, velocity = torch.full((1, 1), 2.0), torch.full((1, 1), 0.5)
    t_B, t_next_B = torch.tensor([800.0]), torch.tensor([600.0])
    mean, std = flow().step(velocity, x_t, t_B, t_next_B, 1.0)
    level_squared = 0.8 / 0.2
    drift = 0.5 + level_squared / (2 * 0.8) * (2.0 + 0.2 * 0.5)
    assert mean.item() == pytest.approx(2.0 - 0.2 * drift, rel=1e-5)
    assert std.item() == pytest.approx((level_squared * 0.2) ** 0.5, rel=1e-5)
    mean, std = flow().step(velocity, x_t, t_B, t_next_B, 0.0)
    assert mean.item() == pytest.approx(2.0 - 0.2 * 0.5) and std.item() == 0


def test_the_last_step_of_flow_is_never_random() -> None:
    ones = torch.ones(1, 1)
    mean, std = flow().step(ones, ones, torch.tensor([300.0]), torch.tensor([0.0]), 1.0)
    assert mean.item() == pytest.approx(1 - 0.3) and std.item() == 0


def test_random_steps_of_flow_keep_its_marginals() -> None:
    """Samples N(0, 1) know their velocity: after ten random steps they are N(0, 1) still."""
    process = flow(1.0)
    timesteps = [*process.timesteps(200), process.end]
    draws = torch.Generator().manual_seed(0)
    x_t = torch.randn(20_000, 1, generator=draws, dtype=torch.float64)
    for t, t_next in zip(timesteps, timesteps[1:], strict=False):
        now, then = torch.full((20_000,), t), torch.full((20_000,), t_next)
        s = t / 1000
        velocity = x_t * (s - (1 - s)) / (s**2 + (1 - s) ** 2)  # E[noise - sample | x_t]
        mean, std = process.step(velocity, x_t, now, then, 0.7)
        x_t = mean + std * torch.randn(x_t.shape, generator=draws, dtype=torch.float64)
    assert x_t.std().item() == pytest.approx(1.0, abs=0.03)


def test_rollouts_of_flow_have_the_log_probabilities_that_training_finds(
    flowing: DiffusionGenerator,
) -> None:
    conditions = flowing.conditioner(PROMPTS[:2])
    made = rollout(flowing, conditions, [0, 1], SETTINGS)
    assert made.log_probs_BK.isfinite().all() and made.log_probs_BK.shape == (2, 3)
    for step in range(3):
        again = log_prob_again(flowing, conditions, made, step, SETTINGS)
        assert torch.equal(again, made.log_probs_BK[:, step])


def test_solvers_of_another_process_are_refused_for_flow(flowing: DiffusionGenerator) -> None:
    with pytest.raises(GeneratorError, match="dpm\\+\\+ does not sample from flow matching"):
        sample(
            flowing,
            flowing.conditioner(PROMPTS[:1]),
            [0],
            SamplingSettings(num_steps=4, batch_size=1, sampler="dpm++"),
        )


def test_training_draws_more_of_the_noisy_levels_where_flow_is_shifted() -> None:
    source = torch.Generator().manual_seed(0)
    plain = sorted(flow(1.0).draw_time(source) for _ in range(999))
    shifted = sorted(flow(3.0).draw_time(source) for _ in range(999))
    assert plain[499] == pytest.approx(500, abs=40)  # the median of a logit-normal is 1/2
    assert shifted[499] == pytest.approx(750, abs=40)  # 3 x 0.5 / (1 + 2 x 0.5)
    assert 0 < plain[0] and shifted[-1] < 1000


def test_flow_learns_by_the_same_loss(flowing: DiffusionGenerator) -> None:
    flowing.denoiser.requires_grad_(True)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    clean, t_B = torch.zeros(2, 4, 8, 8), torch.tensor([300.5, 600.25])
    conditions = flowing.conditioner(PROMPTS[:2])
    loss = diffusion_loss(flowing, clean, conditions, t_B, noise)
    x_t = torch.stack([0.3005 * noise[0], 0.60025 * noise[1]])
    expected = (flowing.denoiser(x_t, t_B, conditions) - noise).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    # SNR 1 at one half: the image's error is half the velocity's
    assert min_snr_weights(flow(), torch.tensor([500.0]), 5.0).item() == pytest.approx(0.25)
    with pytest.raises(GeneratorError, match="learned by flow matching"):
        flowing.process.predicting("epsilon")


def test_flow_is_saved_as_the_scheduler_that_it_was(tmp_path: Path) -> None:
    assert flow().save(tmp_path) == {"scheduler": ["diffusers", FLOW]}
    assert FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "scheduler").shift == 3.0


def test_a_configuration_in_memory_is_read_as_what_it_is() -> None:
    """Its class stands in files only; flow matching once passed for DDIM's epsilon."""
    assert read_process(FlowMatchEulerDiscreteScheduler().config).prediction_type == (
        "flow_prediction"
    )
    assert read_process(DDIMScheduler().config).prediction_type == "epsilon"
