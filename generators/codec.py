"""The codecs that families share: a diffusers autoencoder, and the identity for pixel models."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from generators.base import Entries, Output
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
    """A diffusers autoencoder, `KL` or `Tiny`: intensities in 0 .. 1 to scaled latents and back."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        """Wrap it; its configuration carries what gives its latents mean 0 and variance 1."""
        self.vae = vae
        if isinstance(vae, AutoencoderTiny):  # a quarter faster on a processor
            vae.to(memory_format=torch.channels_last)

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return what latents of this shape become: as many times larger as it has halvings."""
        config = self.vae.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        return Output(
            self.unit, (config.out_channels, *(side * factor for side in latent_shape[1:]))
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images [B, C, H, W] in 0 .. 1, clamped."""
        scaled = self._from_standard(latents)
        images_BCHW: Tensor = self.vae.decode(scaled.to(self.vae.dtype)).sample
        return (images_BCHW.float() / 2 + 0.5).clamp(0, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled latents, of a posterior its mean: float32 [B, C, H, W]."""
        return self._to_standard(self.unscaled(images))

    def unscaled(self, images: Tensor) -> Tensor:
        """Return the autoencoder's own latents, as a prior's are joined to a network's input."""
        encoded = self.vae.encode((images * 2 - 1).to(self.vae.dtype))
        # a tiny autoencoder has no posterior
        own: Tensor = encoded.latents if "latents" in encoded else encoded.latent_dist.mode()
        return own.float()

    def _from_standard(self, latents: Tensor) -> Tensor:
        """Return the autoencoder's own latents, as diffusers' pipelines undo its normalisation."""
        mean, std, shift = self._normalisation(latents)
        own: Tensor = latents / self.vae.config.scaling_factor
        own = own if std is None else own * std
        own = own if mean is None else own + mean
        return own if shift is None else own + shift

    def _to_standard(self, own: Tensor) -> Tensor:
        mean, std, shift = self._normalisation(own)
        own = own if shift is None else own - shift
        own = own if mean is None else own - mean
        own = own if std is None else own / std
        latents: Tensor = own * self.vae.config.scaling_factor
        return latents

    def _normalisation(self, like: Tensor) -> tuple[Tensor | None, Tensor | None, float | None]:
        """Return mean and standard deviation by channel, and the shift, where there are any."""
        config = self.vae.config

        def by_channel(values: list[float] | None) -> Tensor | None:
            axes = [1] * (like.dim() - 2)
            return None if values is None else like.new_tensor(values).view(1, -1, *axes)

        shift = config.get("shift_factor")
        return by_channel(config.get("latents_mean")), by_channel(config.get("latents_std")), shift

    def to(self, device: object) -> "AutoencoderCodec":
        """Move the weights."""
        self.vae.to(device)
        return self

    def save(self, folder: Path) -> Entries:
        """Write the autoencoder; return its `model_index.json` entry."""
        self.vae.save_pretrained(folder / "vae", safe_serialization=True)
        if isinstance(self.vae, AutoencoderTiny):  # diffusers warns of its own entry when it opens
            written = folder / "vae" / "config.json"
            config = json.loads(written.read_text(encoding="utf-8"))
            config.pop("block_out_channels", None)
            written.write_text(
                json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
        return {"vae": ["diffusers", type(self.vae).__name__]}


class PixelCodec(_Range):
    """For models that denoise pixels or voxels: -1 .. 1 inside, `value_range` outside."""

    def __init__(
        self, unit: Kind = "intensity", value_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        """Take what the numbers are: intensities in 0 .. 1, or HU in a range."""
        self.unit, self.value_range = unit, value_range

    def output(self, latent_shape: Sequence[int]) -> Output:
        """Return the same shape: latents are pixels."""
        return Output(self.unit, tuple(latent_shape))

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images in `value_range`, clamped."""
        return self.from_unit((latents.float() / 2 + 0.5).clamp(0, 1))

    def encode(self, images: Tensor) -> Tensor:
        """Return float32 images in -1 .. 1."""
        return self.to_unit(images.float()) * 2 - 1

    def unscaled(self, images: Tensor) -> Tensor:
        """Return the same: there is no scale to undo."""
        return self.encode(images)

    def to(self, device: object) -> "PixelCodec":
        """Return itself: there are no weights."""
        return self

    def save(self, folder: Path) -> Entries:
        """Write nothing."""
        return {}
