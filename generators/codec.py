"""The codecs that families share: a diffusers autoencoder, and the identity for pixel models."""

from pathlib import Path

from diffusers import AutoencoderKL
from torch import Tensor


class AutoencoderCodec:
    """A diffusers `AutoencoderKL`: intensities in 0 .. 1 to scaled latents and back."""

    unit = "intensity"
    value_range = (0.0, 1.0)

    def __init__(self, vae: AutoencoderKL) -> None:
        """Wrap it; its configuration carries the scaling factor that gives unit variance."""
        self.vae = vae

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


class PixelCodec:
    """For models that denoise pixels: -1 .. 1 inside, intensities in 0 .. 1 outside."""

    unit = "intensity"
    value_range = (0.0, 1.0)

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
