"""What stays of a picture that is edited, and the baselines that begin from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from curate.errors import CurateError
from curate.production.images import conditions_of, samples_of
from generators.base import Conditions, Prompt
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, sample
from generators.diffusion.guidance import predict
from generators.diffusion.process import FLOW, read_process
from generators.diffusion.samplers import initial_noise, step_noise
from generators.errors import GeneratorError
from generators.families.counterfactual import CounterfactualSettings, create
from generators.sample import Sample
from tests.tiny import SCHEDULE

PLAIN = SamplingSettings(num_steps=4, batch_size=2)
INVERSION = replace(PLAIN, method="inversion")


def picture(seed: int, height: int = 16, width: int = 16, channels: int = 3) -> Sample:
    random = np.random.default_rng(seed)
    return Sample(random.integers(0, 256, (channels, height, width), dtype=np.uint8))


def mask(height: int = 16, width: int = 16, channels: int = 1) -> Sample:
    """White in a rectangle that no latent's border keeps to."""
    array = np.zeros((channels, height, width), dtype=np.uint8)
    array[:, 3:9, 5:12] = 255
    return Sample(array)


def prompt(**images: Sample) -> Prompt:
    return Prompt("CXR", "normal", images=images)


def edited(prompts: list[Prompt], settings: SamplingSettings = PLAIN) -> list[np.ndarray]:
    """Make them with a generator of grey pixels whose weights read the prior."""
    made = samples_of(small(), prompts, list(range(len(prompts))), settings)
    return [one.array for one in made]


def small() -> DiffusionGenerator:
    return create(CounterfactualSettings(side=16, width=16), Beginning([], seed=4))


def test_outside_the_mask_every_byte_is_the_priors_and_inside_something_changes() -> None:
    prior = picture(1, channels=1)
    for settings in (
        PLAIN,
        replace(PLAIN, guidance=2.0, image_guidance=1.5, sampler="dpm++"),
        replace(PLAIN, method="sdedit", strength=0.5),
        INVERSION,
    ):
        [found] = edited([prompt(prior=prior, keep=mask())], settings)
        inside = mask().array > 0
        assert np.array_equal(found[~inside], prior.array[~inside])
        assert (found[inside] != prior.array[inside]).mean() > 0.5


def test_with_an_autoencoder_the_pixels_outside_stay_too(
    tiny_generator: DiffusionGenerator,
) -> None:
    prior = picture(1)
    wide = create(CounterfactualSettings(), Beginning([], base=tiny_generator))
    [found] = samples_of(wide, [prompt(prior=prior, keep=mask())], [1], PLAIN)
    outside = np.broadcast_to(mask().array == 0, prior.array.shape)
    assert np.array_equal(found.array[outside], prior.array[outside])


def test_a_prompt_without_a_mask_is_the_same_beside_one_with_a_mask() -> None:
    bare = prompt(prior=picture(2, channels=1))
    masked = prompt(prior=picture(3, channels=1), keep=mask())
    [alone] = edited([bare])
    [beside, _] = edited([bare, masked])
    assert np.array_equal(alone, beside)
    white = Sample(np.full((1, 16, 16), 255, dtype=np.uint8))
    [whole] = edited([replace(bare, images={**bare.images, "keep": white})])
    assert np.array_equal(whole, alone)  # a mask of everything is no mask


def test_a_mask_is_drawn_on_its_prior() -> None:
    large = picture(1, 32, 40, channels=1)
    [found] = edited([prompt(prior=large, keep=mask(32, 40))])
    assert found.shape == (1, 16, 16)
    with pytest.raises(GeneratorError, match=r"\[16, 16\] pixels and its prior \[32, 40\]"):
        edited([prompt(prior=large, keep=mask())])
    with pytest.raises(GeneratorError, match="no prior or source picture"):
        edited([prompt(keep=mask())])


@pytest.mark.parametrize("flowing", [False, True])
def test_noise_maps_lead_back_to_the_prior_where_nothing_is_asked_for(
    tiny_generator: DiffusionGenerator, flowing: bool
) -> None:
    generator = tiny_generator
    if flowing:
        generator = replace(generator, process=read_process({"_class_name": FLOW}))
    nothing = Prompt("", "", images={"prior": picture(5)})
    for strength in (1.0, 0.5):
        settings = replace(INVERSION, strength=strength)
        conditions = conditions_of(generator, [nothing], settings)
        found = sample(generator, conditions, [3], settings)
        torch.testing.assert_close(found, conditions.parts["start"], rtol=0, atol=1e-4)
        other = conditions_of(generator, [replace(nothing, text="drusen")], settings)
        away = sample(generator, other, [3], settings) - other.parts["start"]
        assert away.abs().max() > 1e-3


def test_the_steps_of_an_inversion_are_those_of_ddpm(tiny_generator: DiffusionGenerator) -> None:
    """Compare with the paper's algorithm, by diffusers' own DDPM: mean and variance of a step."""
    source = Prompt("OCT", "drusen", images={"prior": picture(6)})
    conditions = conditions_of(tiny_generator, [source], INVERSION)
    ours = sample(tiny_generator, conditions, [3], replace(INVERSION, batch_size=1))
    clean, shape = conditions.parts["start"], (4, 8, 8)
    scheduler = DDPMScheduler(**{k: v for k, v in SCHEDULE.items() if k != "set_alpha_to_one"})
    timesteps = tiny_generator.process.timesteps(4)
    scheduler.set_timesteps(timesteps=[int(t) for t in timesteps])
    nothing = tiny_generator.conditioner.unconditional(1)
    noises = [initial_noise([3], shape), *(step_noise([3], step, shape) for step in (1, 2, 3))]
    noised = [
        scheduler.add_noise(clean, noise, torch.tensor([int(t)]))
        for noise, t in zip(noises, timesteps, strict=True)
    ]
    x_t = noised[0]
    for step, t in enumerate(timesteps[:-1]):  # the last one's end is a convention of its own

        def mean(x: torch.Tensor, about: Conditions, t: float = t) -> torch.Tensor:
            prediction = predict(tiny_generator, x, torch.tensor([t]), about, PLAIN)
            after = scheduler.step(
                prediction.double(), int(t), x.double(), generator=torch.Generator().manual_seed(9)
            ).prev_sample
            noise = torch.randn(
                x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.double
            )
            before: torch.Tensor = after - scheduler._get_variance(int(t)).sqrt() * noise
            return before

        x_t = (mean(x_t, conditions.shown) + noised[step + 1] - mean(noised[step], nothing)).float()
    last = torch.tensor([timesteps[-1]])
    before = predict(tiny_generator, noised[3], last, nothing, PLAIN)
    after = predict(tiny_generator, x_t, last, conditions.shown, PLAIN)
    end = torch.tensor([tiny_generator.process.end])
    means = [
        tiny_generator.process.step(p, x, last, end, 1.0)[0]
        for p, x in ((before, noised[3]), (after, x_t))
    ]
    torch.testing.assert_close(ours, clean + means[1] - means[0], rtol=1e-3, atol=1e-3)


def test_the_baselines_do_not_show_the_network_the_prior() -> None:
    """SDEdit of a prior is what sampling from the same picture as a source has always been."""
    prior = picture(7, channels=1)
    settings = replace(PLAIN, method="sdedit", strength=0.5)
    [ours] = edited([prompt(prior=prior)], settings)
    [usual] = edited([prompt(source=prior)], replace(settings, method="instruct"))
    [read] = edited([prompt(prior=prior, source=prior)], replace(settings, method="instruct"))
    assert np.array_equal(ours, usual) and not np.array_equal(ours, read)


def test_what_no_method_can_do_is_refused(tiny_generator: DiffusionGenerator) -> None:
    with pytest.raises(GeneratorError, match="Add --strength"):
        SamplingSettings(method="sdedit")
    with pytest.raises(GeneratorError, match="starts from noise alone"):
        SamplingSettings(method="inversion", sampler="unipc")
    with pytest.raises(GeneratorError, match="two ways of starting"):
        SamplingSettings(method="inversion", invert=True)
    with pytest.raises(GeneratorError, match="No method 'p2p'"):
        SamplingSettings(method="p2p")
    with pytest.raises(GeneratorError, match="'normal' has no prior"):
        conditions_of(tiny_generator, [prompt()], INVERSION)
    with pytest.raises(CurateError, match="no source image"):
        conditions_of(tiny_generator, [prompt()], replace(PLAIN, strength=0.5))


def test_settings_are_stored_as_before_where_no_method_is_named() -> None:
    assert "method" not in PLAIN.to_json()
    assert SamplingSettings.from_json(INVERSION.to_json()) == INVERSION
