import torch

from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import decode, sample
from tests.tiny import tiny_generator


def test_equal_seeds_give_equal_weights_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = tiny_generator(1), tiny_generator(1), tiny_generator(2)
    assert torch.equal(torch.get_rng_state(), state)
    first = [generator.denoiser.network.conv_in.weight for generator in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_it_makes_small_colour_images_that_differ_by_seed() -> None:
    generator = tiny_generator()
    settings = SamplingSettings(num_steps=4, batch_size=2)
    conditions = generator.conditioner([Prompt("OCT", "drusen: stage 2, é")] * 2)
    images = decode(generator, sample(generator, conditions, [0, 1], settings), 2)
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    assert 0 <= images.min() and images.max() <= 1
    assert (images[0] - images[1]).abs().mean() > 0.01


def test_the_autoencoder_codec_inverts_its_own_scaling() -> None:
    codec = tiny_generator().codec
    codec.vae.register_to_config(scaling_factor=0.5)  # type: ignore[attr-defined]
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    vae = codec.vae  # type: ignore[attr-defined]
    with torch.no_grad():
        mean = vae.encode(images * 2 - 1).latent_dist.mean
        torch.testing.assert_close(codec.encode(images), mean * 0.5)
        decoded = (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(codec.decode(codec.encode(images)), decoded)
    assert codec.value_range == (0.0, 1.0) and codec.unit == "intensity"
