"""SDXL and SD3 shapes beside diffusers' own pipelines: the same images, and saved again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline

from generators import registry
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.rollout import rollout
from generators.diffusion.samplers import initial_noise
from generators.errors import GeneratorError
from generators.families import text_to_image
from generators.lora import add_lora, lora_state, merge_lora, save_lora
from generators.training.loss import diffusion_loss
from tests.generators.families.stock import sd3_folder, sdxl_folder
from tests.generators.replayed import log_prob_again

DRUSEN, SCAR = Prompt("OCT", "drusen"), Prompt("OCT", "scar")
SETTINGS = SamplingSettings(num_steps=4, batch_size=2, guidance=3.0)


def sd3_with_t5(folder: Path) -> Path:
    return sd3_folder(folder, with_t5=True)


@pytest.fixture(params=[sdxl_folder, sd3_folder, sd3_with_t5])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make: Callable[[Path], Path] = request.param
    return make(tmp_path)


@pytest.fixture
def generator(folder: Path) -> DiffusionGenerator:
    opened = registry.load(registry.family_of(folder), folder)
    assert isinstance(opened, DiffusionGenerator)
    return opened


def opened_by_diffusers(folder: Path) -> Any:
    index = json.loads((folder / "model_index.json").read_text())
    absent = [
        part for part in ("text_encoder_3", "tokenizer_3") if index.get(part, [""])[0] is None
    ]
    return DiffusionPipeline.from_pretrained(folder, **dict.fromkeys(absent))


def stock_image(pipeline: Any, generator: DiffusionGenerator) -> torch.Tensor:
    if "Flow" not in type(pipeline.scheduler).__name__:
        pipeline.scheduler = DDIMScheduler.from_config(dict(generator.process.config))
    pipeline.set_progress_bar_config(disable=True)
    image: torch.Tensor = pipeline(
        "OCT drusen",
        height=16,
        width=16,
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=initial_noise([7], (4, 8, 8)),
        output_type="pt",
    ).images
    return image


def test_the_stock_pipeline_makes_the_same_images_before_and_after(
    generator: DiffusionGenerator, folder: Path, tmp_path: Path
) -> None:
    conditions = generator.condition([DRUSEN])
    ours = generator.generate(conditions, [7], SETTINGS)
    generator.save(tmp_path / "saved")
    for place in (folder, tmp_path / "saved"):
        stock = opened_by_diffusers(place)
        torch.testing.assert_close(ours, stock_image(stock, generator), rtol=0, atol=1e-4)
    assert registry.family_of(tmp_path / "saved") == generator.family
    again = registry.load(generator.family, tmp_path / "saved")
    assert torch.equal(again.generate(again.condition([DRUSEN]), [7], SETTINGS), ours)
    assert generator.output.shape == (3, 16, 16)


def test_texts_change_images_and_rows_do_not_depend_on_each_other(
    generator: DiffusionGenerator,
) -> None:
    both = generator.condition([DRUSEN, SCAR])
    alone = generator.condition([SCAR])
    assert all(torch.equal(both.parts[name][1:], alone.parts[name]) for name in alone.parts)
    drusen, scar = generator.generate(both, [7, 7], SETTINGS)
    assert (drusen - scar).abs().max() > 1e-4


def test_a_text_that_would_be_cut_off_is_refused(generator: DiffusionGenerator) -> None:
    with pytest.raises(GeneratorError, match="tokens long, but this generator reads 77"):
        generator.condition([Prompt("OCT", "drusen " * 20)])


def test_rollouts_have_the_log_probabilities_that_training_finds(
    generator: DiffusionGenerator,
) -> None:
    conditions = generator.condition([DRUSEN, SCAR])
    made = rollout(generator, conditions, [0, 1], SETTINGS)
    generator.denoiser.requires_grad_(True)
    again = log_prob_again(generator, conditions, made, 1, SETTINGS)
    torch.testing.assert_close(again, made.log_probs_BK[:, 1], rtol=1e-5, atol=1e-5)
    again.sum().backward()
    assert any(weight.grad is not None for weight in generator.denoiser.parameters())


def test_it_learns_by_the_same_loss(generator: DiffusionGenerator) -> None:
    generator.denoiser.requires_grad_(True)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    times = generator.process.times(torch.tensor([400.0, 600.0]))
    conditions = generator.condition([DRUSEN, SCAR])
    optimiser = torch.optim.Adam(generator.denoiser.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        loss = diffusion_loss(generator, torch.zeros_like(noise), conditions, times, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_adapters_are_merged_and_read_by_the_stock_pipeline(
    generator: DiffusionGenerator, folder: Path, tmp_path: Path
) -> None:
    conditions = generator.condition([DRUSEN])
    add_lora(generator, 2)
    draws = torch.Generator().manual_seed(0)
    for weight in lora_state(generator).values():
        weight.detach().normal_(0, 0.3, generator=draws)
    save_lora(generator, tmp_path / "adapter")
    adapted = generator.generate(conditions, [7], SETTINGS)
    plain = registry.load(generator.family, folder)
    assert isinstance(plain, DiffusionGenerator)
    assert (plain.generate(conditions, [7], SETTINGS) - adapted).abs().max() > 1e-3
    merge_lora(plain, tmp_path / "adapter")
    torch.testing.assert_close(
        plain.generate(conditions, [7], SETTINGS), adapted, rtol=1e-4, atol=1e-4
    )
    stock = opened_by_diffusers(folder)
    stock.load_lora_weights(tmp_path / "adapter")
    torch.testing.assert_close(adapted, stock_image(stock, generator), rtol=0, atol=1e-3)


def test_a_part_that_is_missing_is_named(folder: Path) -> None:
    (folder / "text_encoder_2").rename(folder / "elsewhere")
    with pytest.raises(GeneratorError, match="text_encoder_2"):
        registry.load(registry.family_of(folder), folder)


def test_an_option_of_another_family_is_refused(folder: Path) -> None:
    with pytest.raises(GeneratorError, match="takes no unet. It takes: none"):
        registry.load(registry.family_of(folder), folder, unet=folder)


def test_a_u_net_of_sdxl_is_refused_by_text_to_image(
    tiny_generator: DiffusionGenerator, tmp_path: Path
) -> None:
    tiny_generator.save(tmp_path / "plain")
    with pytest.raises(GeneratorError, match="wants pooled, time_ids, tokens beside the text"):
        text_to_image.load(tmp_path / "plain", unet=sdxl_folder(tmp_path))


def test_a_pipeline_that_no_family_opens_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(GeneratorError, match="is a FluxPipeline, which no family here opens"):
        registry.family_of(tmp_path)
