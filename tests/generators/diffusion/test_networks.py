"""Volumes through the same code as pictures; networks that no adapter knows."""

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import UNet1DModel, UNet3DConditionModel

from generators.base import Conditions
from generators.codec import PixelCodec
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.networks import UNet, denoiser_of
from generators.diffusion.rollout import rollout
from generators.errors import GeneratorError
from generators.lora import add_lora, lora_state, merge_lora, save_lora
from generators.training.loss import diffusion_loss
from tests.generators.replayed import log_prob_again
from tests.tiny import tiny_unet

SETTINGS = SamplingSettings(num_steps=3, batch_size=2)


def network() -> UNet3DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet3DConditionModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
            up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=2,
        ).eval()


@pytest.fixture
def volumes(tiny_generator: DiffusionGenerator) -> DiffusionGenerator:
    """CT volumes of 4 x 8 x 8 voxels, in HU, straight from voxels."""
    return dataclasses.replace(
        tiny_generator,
        family="toy-ct",
        denoiser=denoiser_of(network()).requires_grad_(False),
        codec=PixelCodec("HU", (-1024.0, 3072.0)),
        latent_shape=(1, 4, 8, 8),
    )


def tokens() -> Conditions:
    return Conditions.of(tokens=torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0)))


def test_volumes_are_sampled_in_hu(volumes: DiffusionGenerator) -> None:
    made = volumes.generate(tokens(), [1, 2], SETTINGS)
    assert made.shape == (2, *volumes.output.shape) == (2, 1, 4, 8, 8)
    assert volumes.output.kind == "HU" and volumes.output.spatial_dims == 3
    assert made.min() < 0 and made.min() >= -1024 and made.max() <= 3072
    alone = volumes.generate(tokens().select([1]), [2], SETTINGS)
    assert torch.equal(alone[0], made[1])


def test_volumes_roll_out_learn_and_adapt(volumes: DiffusionGenerator, tmp_path: Path) -> None:
    made = rollout(volumes, tokens(), [1, 2], SETTINGS)
    again = log_prob_again(volumes, tokens(), made, 0, SETTINGS)
    torch.testing.assert_close(again, made.log_probs_BK[:, 0], rtol=1e-5, atol=1e-5)
    add_lora(volumes, 2)
    noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = diffusion_loss(volumes, noise * 0, tokens(), torch.tensor([300, 600]), noise)
    loss.backward()
    assert all(weight.grad is not None for weight in lora_state(volumes).values())
    save_lora(volumes, tmp_path)
    volumes.denoiser.swap(network())
    merge_lora(volumes, tmp_path)


def test_a_volume_family_is_saved_by_its_name(volumes: DiffusionGenerator, tmp_path: Path) -> None:
    from generators.registry import family_of

    volumes.save(tmp_path)
    assert family_of(tmp_path) == "toy-ct"


def test_a_network_that_no_adapter_knows_is_refused_by_name() -> None:
    with pytest.raises(GeneratorError, match="network is a UNet1DModel"):
        denoiser_of(UNet1DModel(block_out_channels=(32, 32, 64)))
    other = tiny_unet(addition_embed_type="image", encoder_hid_dim=16, encoder_hid_dim_type=None)
    with pytest.raises(GeneratorError, match="addition_embed_type 'image'"):
        denoiser_of(other)
    assert type(denoiser_of(tiny_unet())) is UNet
