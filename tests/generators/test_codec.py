"""Latents beside what diffusers' pipelines do to them; HU in and out."""

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from generators.base import Output
from generators.codec import AutoencoderCodec, PixelCodec
from tests.generators.families.stock import vae


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_shift_is_undone_as_stable_diffusion_3s_pipeline_does() -> None:
    network = vae(scaling_factor=1.5, shift_factor=0.06)
    latents = draws(1, 4, 8, 8)
    with torch.no_grad():
        decoded = network.decode(latents / 1.5 + 0.06).sample
        expected = VaeImageProcessor().postprocess(decoded, output_type="pt")
        torch.testing.assert_close(AutoencoderCodec(network).decode(latents), expected)


def test_means_and_deviations_are_undone_as_sdxls_pipeline_does() -> None:
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 0.5, 1.5]
    network = vae(scaling_factor=0.5, latents_mean=mean, latents_std=std)
    latents = draws(1, 4, 8, 8)
    by_channel = torch.tensor(std).view(1, 4, 1, 1), torch.tensor(mean).view(1, 4, 1, 1)
    with torch.no_grad():
        decoded = network.decode(latents * by_channel[0] / 0.5 + by_channel[1]).sample
        expected = VaeImageProcessor().postprocess(decoded, output_type="pt")
        torch.testing.assert_close(AutoencoderCodec(network).decode(latents), expected)


def test_encoding_normalises_what_decoding_undoes() -> None:
    changes = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 1.5]}
    for network in (vae(scaling_factor=1.5, shift_factor=0.06), vae(**changes)):
        codec = AutoencoderCodec(network)
        own = draws(1, 4, 8, 8)
        torch.testing.assert_close(codec._from_standard(codec._to_standard(own)), own)


def test_voxels_of_a_volume_are_hu_outside_and_near_one_inside() -> None:
    codec = PixelCodec("HU", (-1024.0, 3072.0))
    volume = torch.tensor([-1024.0, 0.0, 1024.0, 3072.0]).view(1, 1, 4, 1, 1)
    latents = codec.encode(volume)
    assert latents.flatten().tolist() == pytest.approx([-1.0, -0.5, 0.0, 1.0])
    torch.testing.assert_close(codec.decode(latents), volume)
    assert codec.decode(torch.full((1, 1, 1, 1, 1), 2.0)).item() == 3072.0  # clamped
    assert codec.output((1, 4, 8, 8)) == Output("HU", (1, 4, 8, 8))
