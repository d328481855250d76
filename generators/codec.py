"""The codecs that families share: a diffusers autoencoder, and the identity for pixel models."""

from collections.abc import Sequence
from pathlib import Path

from diffusers import AutoencoderKL
from torch import Tensor

from generators.base import Output
from generators.sample import Kind


class _Range:
    """What the numbers of a codec's images are."""

    unit: Kind = "intensity"
    value_range: tuple[float, float] = (0.0, 1.0)

    def to_unit(self, images: Tensor) -> Tensor:
        """Return images in `value_range` as numbers in 0 .. 1."""
        low, high = self.value_range
        return (images - low) / (high - low)

    def to_values(self, images: Tensor) -> Tensor:
        """Return decoded images as samples have them: intensities in 0 .. 1, HU as they are."""
        return self.to_unit(images) if self.unit == "intensity" else images

    def from_unit(self, images: Tensor) -> Tensor:
        """Return images in 0 .. 1 as numbers in `value_range`."""
        low, high = self.value_range
        return images * (high - low) + low


class AutoencoderCodec(_Range):
    """A diffusers `AutoencoderKL`: intensities in 0 .. 1 to scaled latents and back."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Wrap it; its configuration carries the scaling factor that gives unit variance."""
        self.vae = vae

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return what latents of this shape become: as many times larger as it has halvings."""
        config = self.vae.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        return Output(
            self.unit, (config.out_channels, *(side * factor for side in latent_shape[1:]))
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images [B, C, H, W] in 0 .. 1, clamped."""
        scaled = latents / self.vae.config.scaling_factor
        images_BCHW: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample
        return (images_BCHW.float() / 2 + 0.5).clamp(0, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled mean of the posterior: float32 [B, C, H, W]."""
        posterior = self.vae.encode((images * 2 - 1).to(self.vae.dtype)).latent_dist
        scaled: Tensor = posterior.mode().float() * self.vae.config.scaling_factor
        return scaled

    def to(self, device: object) -> "AutoencoderCodec":
        """Move the weights."""
        self.vae.to(device)
        return self

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write the autoencoder; return its `model_index.json` entry."""
        self.vae.save_pretrained(folder / "vae", safe_serialization=True)
        return {"vae": ["diffusers", type(self.vae).__name__]}


class PixelCodec(_Range):
    """For models that denoise pixels: -1 .. 1 inside, intensities in 0 .. 1 outside."""

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return the same shape: latents are pixels."""
        return Output(self.unit, tuple(latent_shape))

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images in 0 .. 1, clamped."""
        return (latents.float() / 2 + 0.5).clamp(0, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Return float32 images in -1 .. 1."""
        return images.float() * 2 - 1

    def to(self, device: object) -> "PixelCodec":
        """Return itself: there are no weights."""
        return self

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write nothing."""
        return {}
