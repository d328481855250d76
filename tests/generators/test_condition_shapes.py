"""Other shapes of condition go through the same code: channels, modulation, no tokens at all."""

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from generators.base import Conditions, Entries, Prompt
from generators.codec import PixelCodec
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.diffusion.guidance import predict
from generators.diffusion.networks import UNet
from generators.diffusion.rollout import rollout
from generators.lora import CONVOLUTIONS, add_lora, disable_lora, lora_state, merge_lora, save_lora
from generators.sample import Sample
from generators.training.loss import diffusion_loss
from tests.generators.replayed import log_prob_again
from tests.tiny import tiny_unet

SETTINGS = SamplingSettings(num_steps=4, batch_size=2, guidance=2.0)


class WithoutWeights:
    def to(self, device: torch.device | str) -> None:
        pass

    def save(self, folder: Path) -> Entries:
        return {}


class MaskConditioner(WithoutWeights):
    """A mask as one more input channel; the empty mask for guidance."""

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        return Conditions.of(
            channels=torch.stack(
                [torch.from_numpy(prompt.images["mask"].array) for prompt in prompts]
            )
        )

    def unconditional(self, count: int) -> Conditions:
        return Conditions.of(channels=torch.zeros(count, 1, 8, 8))


class MaskAndTextConditioner(MaskConditioner):
    """The mask beside the tokens of the generator's own text conditioner."""

    def __init__(self, generator: DiffusionGenerator) -> None:
        self.text = generator.conditioner

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        masks = super().__call__(prompts).parts["channels"]
        return Conditions.of(tokens=self.text(prompts).parts["tokens"], channels=masks)

    def unconditional(self, count: int) -> Conditions:
        masks = super().unconditional(count).parts["channels"]
        return Conditions.of(tokens=self.text.unconditional(count).parts["tokens"], channels=masks)


class RecordConditioner(WithoutWeights):
    """A clinical record as feature-wise scale and shift."""

    def __call__(self, prompts: Sequence[Prompt]) -> Conditions:
        return Conditions.of(
            modulation=torch.tensor([[float(p.record["age"]) / 100, 1.0] for p in prompts])
        )

    def unconditional(self, count: int) -> Conditions:
        return Conditions.of(modulation=torch.zeros(count, 2))


def mask_and_text(generator: DiffusionGenerator) -> DiffusionGenerator:
    return dataclasses.replace(
        generator,
        conditioner=MaskAndTextConditioner(generator),
        denoiser=UNet(tiny_unet(in_channels=4 + 1)),
    )


def mask_alone(generator: DiffusionGenerator) -> DiffusionGenerator:
    unet = UNet2DModel(
        sample_size=8,
        in_channels=3 + 1,
        out_channels=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=2,
    )
    return dataclasses.replace(
        generator,
        conditioner=MaskConditioner(),
        denoiser=UNet(unet),
        codec=PixelCodec(),
        latent_shape=(3, 8, 8),
    )


def record_alone(generator: DiffusionGenerator) -> DiffusionGenerator:
    unet = tiny_unet(
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D", "UpBlock2D"),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2,
        resnet_time_scale_shift="scale_shift",
    )
    return dataclasses.replace(generator, conditioner=RecordConditioner(), denoiser=UNet(unet))


def prompts() -> list[Prompt]:
    left, right = np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32)
    left[..., :4], right[..., 4:] = 1, 1
    return [
        Prompt("ChestCT", "nodule", record={"age": 40}, images={"mask": Sample(left)}),
        Prompt("ChestCT", "nodule", record={"age": 80}, images={"mask": Sample(right)}),
    ]


@pytest.fixture(params=[mask_and_text, mask_alone, record_alone])
def generator(
    request: pytest.FixtureRequest, tiny_generator: DiffusionGenerator
) -> DiffusionGenerator:
    make: Callable[[DiffusionGenerator], DiffusionGenerator] = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(tiny_generator)


def test_it_samples_images_that_follow_the_condition(generator: DiffusionGenerator) -> None:
    conditions = generator.conditioner(prompts())
    latents = sample(generator, conditions, [3, 3], SETTINGS)
    images = decode(generator, latents, 2)
    assert images.shape[:2] == (2, 3)
    assert (latents[0] - latents[1]).abs().max() > 1e-3  # one seed, two conditions
    swapped = sample(generator, conditions.select([1, 0]), [3, 3], SETTINGS)
    assert torch.equal(swapped, latents.flip(0))


def test_its_rollouts_are_on_policy_and_give_gradients(generator: DiffusionGenerator) -> None:
    conditions = generator.conditioner(prompts())
    result = rollout(generator, conditions, [0, 1], SETTINGS)
    generator.denoiser.requires_grad_(True)
    log_probs = log_prob_again(generator, conditions, result, 1, SETTINGS)
    assert torch.allclose(log_probs, result.log_probs_BK[:, 1], atol=1e-6)
    log_probs.sum().backward()
    first = generator.denoiser.network.conv_in.weight.grad
    assert first is not None and first.abs().sum() > 0
    if "channels" in conditions.parts:  # the mask's own input weights learn too
        assert first[:, -1].abs().sum() > 0


def test_it_trains_by_the_same_loss(generator: DiffusionGenerator) -> None:
    conditions = generator.conditioner(prompts())
    noise = torch.randn(2, *generator.latent_shape, generator=torch.Generator().manual_seed(0))
    generator.denoiser.requires_grad_(True)
    timesteps = torch.tensor([400, 600])
    diffusion_loss(generator, torch.zeros_like(noise), conditions, timesteps, noise).backward()
    assert all(weight.grad is not None for weight in generator.denoiser.parameters())


def test_it_takes_adapters_that_can_be_switched_off_and_merged(
    generator: DiffusionGenerator, tmp_path: Path
) -> None:
    conditions = generator.conditioner(prompts())
    x_t = torch.randn(2, *generator.latent_shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def predicted() -> torch.Tensor:
        return predict(generator, x_t, torch.tensor([400, 600]), conditions, SETTINGS)

    before, weights = predicted(), copy.deepcopy(generator.denoiser.state_dict())
    add_lora(generator, 2, CONVOLUTIONS)
    torch.testing.assert_close(predicted(), before, rtol=0, atol=0)
    draws = torch.Generator().manual_seed(0)
    for weight in lora_state(generator).values():
        weight.detach().normal_(0, 0.3, generator=draws)
    adapted = predicted()
    assert (adapted - before).abs().max() > 0.01
    with disable_lora(generator):
        torch.testing.assert_close(predicted(), before, rtol=0, atol=0)
    save_lora(generator, tmp_path)

    network = generator.denoiser.network
    generator.denoiser.swap(type(network).from_config(network.config))
    generator.denoiser.load_state_dict(weights)
    merge_lora(generator, tmp_path)
    torch.testing.assert_close(predicted(), adapted, rtol=1e-5, atol=1e-5)


def test_without_stock_parts_it_is_saved_as_opening_through_curate_only(
    generator: DiffusionGenerator, tmp_path: Path
) -> None:
    generator.save(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert "_class_name" not in index
    assert index["unet"] == ["diffusers", type(generator.denoiser.network).__name__]


def test_the_pixel_codec_maps_the_two_ranges_on_each_other() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    codec = PixelCodec()
    latents = codec.encode(images)
    assert latents.min() < -0.9 and latents.max() > 0.9
    torch.testing.assert_close(codec.decode(latents), images)
    assert codec.decode(torch.full((1, 1, 1, 1), 3.0)).item() == 1.0  # clamped
