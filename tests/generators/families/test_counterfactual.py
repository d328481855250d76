"""A prior image and what changed, to the later image: widened, saved, opened as stock."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image

from generators import registry
from generators.base import Prompt
from generators.beginning import Beginning
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.families import counterfactual
from generators.families.counterfactual import CounterfactualSettings, create
from generators.lora import merge_lora, save_lora
from generators.sample import Sample
from generators.training.config import TrainingConfig
from generators.training.lesson import Drop, Example, Lesson, Pool, shown_prompt
from generators.training.loop import train, weights_to_train
from tests.tiny import tiny_generator

SETTINGS = SamplingSettings(num_steps=4, batch_size=2)


def picture(seed: int, side: int = 16, channels: int = 3) -> Sample:
    random = np.random.default_rng(seed)
    return Sample(random.integers(0, 256, (channels, side, side), dtype=np.uint8))


def widened(scaling: float = 1.0, **settings: int) -> DiffusionGenerator:
    base = tiny_generator()
    base.codec.vae.register_to_config(scaling_factor=scaling)  # type: ignore[attr-defined]
    return create(CounterfactualSettings(**settings), Beginning([], base=base))


def edits(seed: int, side: int = 16) -> list[Prompt]:
    return [
        Prompt("CXR", "new drusen", images={"prior": picture(seed, side)}),
        Prompt("CXR", "normal", images={"prior": picture(seed + 1, side)}),
    ]


def taught(generator: DiffusionGenerator) -> DiffusionGenerator:
    """Give the prior's weights values, as a training does."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        weight = generator.denoiser.network.conv_in.weight
        weight[:, 4:] = 0.3 * torch.randn_like(weight[:, 4:])
    return generator


def test_before_the_first_step_any_prior_gives_the_bases_very_image() -> None:
    base, wide = tiny_generator(), widened()
    for seed in (0, 5):
        prompts = edits(seed)
        plain = [replace(prompt, images={}) for prompt in prompts]
        wanted = base.generate(base.condition(plain), [1, 2], SETTINGS)
        assert torch.equal(wide.generate(wide.condition(prompts), [1, 2], SETTINGS), wanted)
        assert torch.equal(wide.generate(wide.condition(plain), [1, 2], SETTINGS), wanted)
    taught(wide)
    changed = wide.generate(wide.condition(edits(0)), [1, 2], SETTINGS)
    assert not torch.equal(changed, wanted)


def test_the_stock_pipeline_opens_the_folder_and_gives_the_same_pixels(tmp_path: Path) -> None:
    wide = taught(widened(0.18215))
    wide.save(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionInstructPix2PixPipeline"
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    [prompt, _] = edits(4)
    settings = replace(SETTINGS, batch_size=1, guidance=3.0, image_guidance=1.5)
    conditions = wide.condition([prompt])
    ours = wide.generate(conditions, [7], settings)[0]
    theirs = pipe(
        image=Image.fromarray(prompt.images["prior"].array.transpose(1, 2, 0)),
        prompt_embeds=conditions.parts["tokens"],
        negative_prompt_embeds=wide.conditioner.unconditional(1).parts["tokens"],
        latents=initial_noise([7], wide.latent_shape),
        num_inference_steps=4,
        guidance_scale=3.0,
        image_guidance_scale=1.5,
        output_type="np",
    ).images[0]
    difference = np.abs(ours.permute(1, 2, 0).numpy() - theirs).max()
    assert difference <= 1 / 255


def test_folders_of_instruct_pix2pix_are_this_family_and_no_text_to_image(tmp_path: Path) -> None:
    wide = taught(widened())
    wide.save(tmp_path)
    assert registry.family_of(tmp_path) == "counterfactual"
    again = registry.load("counterfactual", tmp_path)
    prompts = edits(2)
    for one, other in zip(
        again.condition(prompts).parts.values(), wide.condition(prompts).parts.values(), strict=True
    ):
        assert torch.equal(one, other)
    with pytest.raises(GeneratorError, match="8 channels and makes 4.*counterfactual"):
        registry.load("text-to-image", tmp_path)
    tiny_generator().save(tmp_path / "plain")
    with pytest.raises(GeneratorError, match="reads no prior"):
        registry.load("counterfactual", tmp_path / "plain")


def test_the_length_of_texts_belongs_to_the_version(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="tokens long"):
        widened().condition([Prompt("CXR", "oct " * 23)])
    base = tiny_generator()
    config = base.conditioner.text_encoder.config  # type: ignore[attr-defined]
    with pytest.raises(GeneratorError, match="places for 3 to 24"):
        create(CounterfactualSettings(text_length=25), Beginning([], base=base))
    shorter = create(CounterfactualSettings(text_length=20), Beginning([], base=base))
    assert shorter.condition([Prompt("CXR", "oct")]).parts["tokens"].shape[1] == 8 + 20
    shorter.save(tmp_path)
    again = registry.load("counterfactual", tmp_path)
    assert again.condition([Prompt("CXR", "oct")]).parts["tokens"].shape[1] == 8 + 20
    assert config.max_position_embeddings == 32


def test_the_first_convolution_learns_beside_adapters_and_is_kept(tmp_path: Path) -> None:
    wide = widened()
    weights = weights_to_train(wide, TrainingConfig(lora_rank=2))
    assert any(name.endswith("conv_in.weight") for name in weights.named)
    with torch.no_grad():
        weights.named["denoiser.unet.conv_in.weight"].add_(0.5)
    save_lora(wide, tmp_path)
    other = widened()
    merge_lora(other, tmp_path)
    assert torch.equal(other.denoiser.network.conv_in.weight, wide.denoiser.network.conv_in.weight)


def test_a_prior_of_another_size_is_framed_and_colour_is_refused_where_all_is_grey() -> None:
    wide = widened()
    large = picture(1, 16).array.repeat(2, 1).repeat(2, 2)
    same = [Prompt("CXR", "oct", images={"prior": picture(1)})]
    found = wide.condition([Prompt("CXR", "oct", images={"prior": Sample(large)})])
    assert found.parts["channels"].shape == wide.condition(same).parts["channels"].shape
    grey = create(CounterfactualSettings(), Beginning([]))
    with pytest.raises(GeneratorError, match="in colour"):
        grey.condition(same)


def test_words_are_dropped_and_the_prior_stays() -> None:
    [prompt, _] = edits(0)
    shown = shown_prompt(prompt, Drop.WORDS)
    assert (shown.modality, shown.text) == ("", "") and shown.images == prompt.images


def test_begun_from_nothing_it_learns_and_opens_again(tmp_path: Path) -> None:
    made = create(CounterfactualSettings(side=16, width=16), Beginning([], seed=4))
    again = create(CounterfactualSettings(side=16, width=16), Beginning([], seed=4))
    prior = picture(3, 16, 1)
    prompt = Prompt("CXR", "New right pleural effusion.", images={"prior": prior})
    example = Example("a", prompt, "CXR")
    image = torch.from_numpy(prior.array / 255.0).float()[None]
    lesson = Lesson(
        [Pool([example])],
        [example],
        latents=lambda key: made.codec.encode(image)[0],
        embed=lambda one: made.condition([one]),
    )
    config = replace(
        counterfactual.TRAINING, num_steps=40, batch_size=4, micro_batch=4, warmup_steps=0
    )
    trained = train(made, lesson, config, folder=tmp_path / "run")
    first, last = trained.history.validations
    assert last.losses["CXR"][0] < 0.9 * first.losses["CXR"][0]
    made.save(tmp_path / "kept")
    opened = registry.load(registry.family_of(tmp_path / "kept"), tmp_path / "kept")
    conditions = opened.condition([prompt])
    ours = made.generate(made.condition([prompt]), [1], SETTINGS)
    assert torch.equal(opened.generate(conditions, [1], SETTINGS), ours)
    assert ours.shape == (1, 1, 16, 16)
    assert not torch.equal(again.generate(again.condition([prompt]), [1], SETTINGS), ours)
