"""Sampling that starts from an image: SDEdit beside diffusers', and inversion."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from curate.errors import CurateError
from curate.production.images import conditions_of
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, inverted, sample
from generators.diffusion.process import FLOW, read_process
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.sample import Sample
from tests.tiny import SCHEDULE

SOURCE = Sample(np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8))
PROMPT = Prompt("OCT", "drusen", images={"source": SOURCE})
HALF = SamplingSettings(num_steps=8, batch_size=1, strength=0.5)


def test_an_image_is_noised_and_denoised_as_diffusers_does(
    tiny_generator: DiffusionGenerator,
) -> None:
    conditions = tiny_generator.condition([PROMPT])
    ours = sample(tiny_generator, conditions, [3], HALF)
    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(8)
    start = tiny_generator.codec.encode(torch.from_numpy(SOURCE.array)[None] / 255)
    timesteps = scheduler.timesteps[4:]
    x_t = scheduler.add_noise(start, initial_noise([3], (4, 8, 8)), timesteps[:1])
    for t in timesteps:
        with torch.no_grad():
            prediction = tiny_generator.denoiser(x_t, t[None], conditions)
        x_t = scheduler.step(prediction, t, x_t).prev_sample
    torch.testing.assert_close(ours, x_t, rtol=1e-4, atol=1e-4)


def test_the_weaker_the_nearer_to_the_source(tiny_generator: DiffusionGenerator) -> None:
    conditions = tiny_generator.condition([PROMPT])
    clean = conditions.parts["start"]
    distances = [
        (
            sample(tiny_generator, conditions, [3], dataclasses.replace(HALF, strength=strength))
            - clean
        )
        .square()
        .mean()
        .item()
        for strength in (0.2, 0.5, 0.9)
    ]
    assert distances == sorted(distances) and distances[0] < 0.5 * distances[-1]


@pytest.mark.parametrize("flowing", [False, True])
def test_inversion_finds_noise_that_leads_back(
    tiny_generator: DiffusionGenerator, flowing: bool
) -> None:
    generator = tiny_generator
    if flowing:
        generator = dataclasses.replace(generator, process=read_process({"_class_name": FLOW}))
    conditions = generator.condition([PROMPT])
    clean = conditions.parts["start"]

    def error(num_steps: int) -> float:
        settings = SamplingSettings(num_steps=num_steps, batch_size=1, strength=0.5, invert=True)
        back = sample(generator, conditions, [3], settings)
        return (back - clean).square().mean().item()

    noised = inverted(
        generator,
        clean,
        conditions.without("start"),
        SamplingSettings(num_steps=40, batch_size=1, strength=0.5, invert=True),
    )
    assert (noised - clean).abs().mean() > 0.01  # it went somewhere
    assert error(40) < 0.5 * error(8)  # the more steps, the nearer
    assert error(40) < 0.05 * clean.square().mean().item()


def test_at_full_strength_the_source_is_not_looked_at(tiny_generator: DiffusionGenerator) -> None:
    plain = SamplingSettings(num_steps=4, batch_size=1)
    with_source = sample(tiny_generator, tiny_generator.condition([PROMPT]), [3], plain)
    without = tiny_generator.condition([Prompt("OCT", "drusen")])
    assert torch.equal(with_source, sample(tiny_generator, without, [3], plain))


def test_without_a_source_there_is_nothing_to_start_from(
    tiny_generator: DiffusionGenerator,
) -> None:
    bare = Prompt("OCT", "drusen")
    with pytest.raises(GeneratorError, match="these prompts have none"):
        sample(tiny_generator, tiny_generator.condition([bare]), [3], HALF)
    with pytest.raises(CurateError, match="'drusen' among them, has no source image"):
        conditions_of(tiny_generator, [bare], HALF)
    plain = SamplingSettings(num_steps=4, batch_size=1)
    assert "start" not in conditions_of(tiny_generator, [PROMPT], plain).parts


def test_a_source_of_another_shape_is_refused(tiny_generator: DiffusionGenerator) -> None:
    wide = Sample(np.zeros((1, 16, 20), dtype=np.uint8))
    with pytest.raises(GeneratorError, match=r"intensity of \[1, 16, 20\]"):
        tiny_generator.condition([Prompt("OCT", "drusen", images={"source": wide})])
    labels = Sample(np.zeros((1, 16, 16), dtype=np.uint8), "labels")
    with pytest.raises(GeneratorError, match="source image is labels"):
        tiny_generator.condition([Prompt("OCT", "drusen", images={"source": labels})])


def test_a_start_that_no_sampler_can_make_is_refused() -> None:
    with pytest.raises(GeneratorError, match="is no step"):
        SamplingSettings(num_steps=4, strength=0.1)
    with pytest.raises(GeneratorError, match="starts from noise alone"):
        SamplingSettings(sampler="unipc", invert=True)
