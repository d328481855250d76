"""Guidance beside hand arithmetic on the denoiser's own answers."""

import dataclasses

import pytest
import torch

from generators.base import Conditions, Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.guidance import predict
from generators.errors import GeneratorError
from tests.generators.test_condition_shapes import mask_and_text, prompts

ONCE = SamplingSettings(batch_size=2)


@pytest.fixture
def masked(tiny_generator: DiffusionGenerator) -> DiffusionGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return mask_and_text(tiny_generator)


def x_t() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_two_scales_are_instructpix2pixs(masked: DiffusionGenerator) -> None:
    conditions, t_B = masked.conditioner(prompts()), torch.tensor([400, 600])
    nothing = masked.conditioner.unconditional(2)
    images = Conditions.of(tokens=nothing.parts["tokens"], channels=conditions.parts["channels"])
    settings = dataclasses.replace(ONCE, guidance=3.0, image_guidance=1.5)
    ours = predict(masked, x_t(), t_B, conditions, settings)
    bare, imaged, whole = (
        masked.denoiser(x_t(), t_B, asked) for asked in (nothing, images, conditions)
    )
    expected = bare + 1.5 * (imaged - bare) + 3.0 * (whole - imaged)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_two_equal_scales_are_one(masked: DiffusionGenerator) -> None:
    conditions, t_B = masked.conditioner(prompts()), torch.tensor([400, 600])
    two = predict(
        masked, x_t(), t_B, conditions, dataclasses.replace(ONCE, guidance=3.0, image_guidance=3.0)
    )
    one = predict(masked, x_t(), t_B, conditions, dataclasses.replace(ONCE, guidance=3.0))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-4)


def test_a_scale_for_images_needs_a_generator_that_reads_them(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions = tiny_generator.conditioner([Prompt("OCT", "drusen")] * 2)
    with pytest.raises(GeneratorError, match="reads no condition images"):
        predict(
            tiny_generator,
            x_t(),
            torch.tensor([400, 600]),
            conditions,
            dataclasses.replace(ONCE, image_guidance=1.5),
        )


@torch.no_grad()
def test_outside_the_interval_the_conditional_prediction_stands_alone(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions, t_B = tiny_generator.conditioner(prompts()), torch.tensor([400, 600])
    guided = predict(
        tiny_generator, x_t(), t_B, conditions, dataclasses.replace(ONCE, guidance=3.0)
    )
    alone = predict(tiny_generator, x_t(), t_B, conditions, ONCE)
    settings = dataclasses.replace(ONCE, guidance=3.0, guidance_from=0.5)
    found = predict(tiny_generator, x_t(), t_B, conditions, settings)
    assert torch.equal(found[0], guided[0])
    torch.testing.assert_close(found[1], alone[1], rtol=1e-5, atol=1e-5)
    late = dataclasses.replace(ONCE, guidance=3.0, guidance_until=0.7)
    assert torch.equal(predict(tiny_generator, x_t(), t_B, conditions, late), alone)


def test_an_interval_that_is_none_is_refused() -> None:
    with pytest.raises(GeneratorError, match="noise levels go from 1 down to 0"):
        SamplingSettings(guidance_from=0.2, guidance_until=0.7)


def test_settings_that_are_not_used_leave_no_trace_in_what_is_stored() -> None:
    first = {"num_steps", "guidance", "sampler", "eta", "batch_size", "dtype"}
    assert SamplingSettings().to_json().keys() == first
    used = SamplingSettings(image_guidance=1.5, guidance_from=0.8, strength=0.5)
    assert used.to_json().keys() - first == {"image_guidance", "guidance_from", "strength"}
    assert SamplingSettings.from_json(used.to_json()) == used
