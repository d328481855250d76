"""The U-Net of clinical images, in two and three dimensions, and how a text acts in it.

Shapes: B images, M mask labels, L tokens, D text features, C channels; `*spatial` is H x W or
D x H x W. With no text, or before any training, every fusion unit changes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from generators.base import Denoiser, Entries

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
GROUPS = 4
HEADS = 4


class Region(nn.Module):
    """The text as one offset a channel *for every mask label*: the network sees where it acts."""

    def __init__(self, width: int, labels: int, channels: int) -> None:
        """Begin with no offset."""
        super().__init__()
        self.labels = labels
        self.to_offsets = _zeroed(nn.Linear(width, labels * channels))

    def forward(self, x: Tensor, mask: Tensor, pooled_BD: Tensor) -> Tensor:
        """Return features with their label's offset; `mask` is [B, M, *spatial]."""
        offsets_BMC = self.to_offsets(pooled_BD).view(len(x), self.labels, -1)
        flat = offsets_BMC.transpose(1, 2) @ mask.flatten(2).to(offsets_BMC)
        placed: Tensor = x + flat.view_as(x)
        return placed


class Affine(nn.Module):
    """DF-GAN's unit (Tao et al. 2022): scale and shift of each channel, by a two-layer network."""

    def __init__(self, width: int, channels: int) -> None:
        """Begin with scale 1 and shift 0."""
        super().__init__()
        self.to_both = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), _zeroed(nn.Linear(width, 2 * channels))
        )

    def forward(self, x: Tensor, mask: Tensor, pooled_BD: Tensor) -> Tensor:
        """Return the scaled and shifted features."""
        both = self.to_both(pooled_BD).view(len(x), -1, *[1] * (x.dim() - 2))
        scale, shift = both.chunk(2, dim=1)
        scaled: Tensor = x * (1 + scale) + shift
        return scaled


class CrossAttention(nn.Module):
    """Every voxel looks at the tokens; the last feature of a token says whether it is padding."""

    def __init__(self, width: int, channels: int) -> None:
        """Begin with an answer of 0."""
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(width, channels, bias=False)
        self.to_v = nn.Linear(width, channels, bias=False)
        self.to_out = nn.ModuleList([_zeroed(nn.Linear(channels, channels))])

    def forward(self, x: Tensor, mask: Tensor, tokens_BLD: Tensor) -> Tensor:
        """Return the features with what the tokens say to them."""
        tokens, is_word_BL = tokens_BLD[..., :-1], tokens_BLD[..., -1] > 0
        features = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            part.view(len(x), part.shape[1], HEADS, -1).transpose(1, 2)
            for part in (self.to_q(features), self.to_k(tokens), self.to_v(tokens))
        )
        seen = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=is_word_BL[:, None, None, :]
        )
        said = self.to_out[0](seen.transpose(1, 2).flatten(2))
        answered: Tensor = x + said.transpose(1, 2).view_as(x)
        return answered


class Block(nn.Module):
    """Two convolutions with the timestep between them, then the text's units."""

    def __init__(
        self, dims: int, channels: tuple[int, int], widths: tuple[int, int], labels: int, units: Any
    ) -> None:
        """Take channels in and out, the timestep's and the text's width."""
        super().__init__()
        convolution, (before, after), (time_width, width) = CONVOLUTIONS[dims], channels, widths
        self.norm1 = nn.GroupNorm(GROUPS, before)
        self.conv1 = convolution(before, after, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, after)
        self.norm2 = nn.GroupNorm(GROUPS, after)
        self.conv2 = convolution(after, after, 3, padding=1)
        # none, where there is nothing to convert: adapters are put on convolutions by name
        self.conv_shortcut = None if before == after else convolution(before, after, 1)
        self.region = Region(width, labels, after) if "region" in units else None
        self.affine = Affine(width, after) if "affine" in units else None
        self.attention = CrossAttention(width, after) if "cross-attention" in units else None

    def forward(self, x: Tensor, time: Tensor, mask: Tensor, text: Mapping[str, Tensor]) -> Tensor:
        """Return features [B, after, *spatial]."""
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.time_emb_proj(time).view(*h.shape[:2], *[1] * (h.dim() - 2))
        h = self.norm2(h)
        if self.affine is not None and "pooled" in text:
            h = self.affine(h, mask, text["pooled"])
        straight = x if self.conv_shortcut is None else self.conv_shortcut(x)
        out: Tensor = straight + self.conv2(functional.silu(h))
        if self.region is not None and "pooled" in text:
            out = self.region(out, mask, text["pooled"])
        if self.attention is not None and "tokens" in text:
            out = self.attention(out, mask, text["tokens"])
        return out


class ClinicalUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A U-Net that is told a mask by channels and a text by its fusion units, at every level."""

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: Sequence[int],  # the patch, two or three sides
        labels: int,  # mask channels
        units: Sequence[str],
        block_out_channels: Sequence[int],
        text_width: int,
        out_channels: int = 1,
    ) -> None:
        """Build it; the last convolution is 0."""
        super().__init__()
        dims, first = len(sample_size), block_out_channels[0]
        convolution, time_width = CONVOLUTIONS[dims], 4 * first
        self.dims, self.num_labels, self.gradient_checkpointing = dims, labels, False
        self.time_embedding = nn.Sequential(
            nn.Linear(first, time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU()
        )

        def block(before: int, after: int) -> Block:
            return Block(dims, (before, after), (time_width, text_width), labels, tuple(units))

        self.conv_in = convolution(out_channels + labels, first, 3, padding=1)
        widths = [first, *block_out_channels]
        self.down = nn.ModuleList(block(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.mid = block(widths[-1], widths[-1])
        upwards = list(reversed(widths[1:]))
        self.up = nn.ModuleList(
            block(before + skip, skip)
            for before, skip in zip([widths[-1], *upwards], upwards, strict=False)
        )
        self.region_out = Region(text_width, labels, out_channels) if "region" in units else None
        # how much of it, by how noisy the image is
        self.when_out = nn.Linear(time_width, 1) if "region" in units else None
        self.norm_out = nn.GroupNorm(GROUPS, first)
        self.conv_out = _zeroed(convolution(first, out_channels, 3, padding=1))

    def forward(
        self, sample: Tensor, timestep: Tensor, text: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the prediction for latents with mask channels, of any size.

        `text` has the parts `pooled` [B, D] and `tokens` [B, L, D + 1] that the units read.
        """
        spatial, text = sample.shape[2:], text or {}
        # each side up to a multiple of the halvings, filled with its own border
        more = [-side % 2 ** (len(self.down) - 1) for side in reversed(spatial)]
        padded = sample
        if any(more):
            padded = functional.pad(sample, [n for m in more for n in (0, m)], mode="replicate")
        mask, time = (
            padded[:, -self.num_labels :],
            self.time_embedding(
                get_timestep_embedding(timestep, self.config.block_out_channels[0]).to(sample.dtype)
            ),
        )
        masks = [mask]
        h, skips = self.conv_in(padded), []
        for level, block in enumerate(self.down):
            if level:
                h = POOLS[self.dims](h, 2)
                masks.append(POOLS[self.dims](masks[-1], 2))
            h = self._run(block, h, time, masks[level], text)
            skips.append(h)
        h = self._run(self.mid, h, time, masks[-1], text)
        for level, block in zip(reversed(range(len(skips))), self.up, strict=True):
            if h.shape[2:] != skips[level].shape[2:]:
                h = functional.interpolate(h, scale_factor=2.0, mode="nearest")
            h = self._run(block, torch.cat([h, skips[level]], dim=1), time, masks[level], text)
        prediction = self.conv_out(functional.silu(self.norm_out(h)))
        if self.region_out is not None and self.when_out is not None and "pooled" in text:
            when = 1 + self.when_out(time).view(-1, *[1] * (h.dim() - 1))
            nothing = torch.zeros_like(prediction)
            prediction = prediction + when * self.region_out(nothing, mask, text["pooled"])
        inside = tuple(slice(0, side) for side in spatial)
        cropped: Tensor = prediction[(slice(None), slice(None), *inside)]
        return cropped

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        """Run a block; with checkpointing its inside is computed again for the gradient."""
        again = torch.is_grad_enabled() and self.gradient_checkpointing
        out: Tensor = self._gradient_checkpointing_func(block, *inputs) if again else block(*inputs)
        return out


class ClinicalDenoiser(Denoiser):
    """The U-Net, handed the text's parts."""

    def ask(self, x_t: Tensor, t_B: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the network's prediction."""
        prediction: Tensor = self.network(x_t, t_B.to(x_t.device), parts)
        return prediction

    def save(self, folder: Path) -> Entries:
        """Write the network; return its `model_index.json` entry."""
        super().save(folder)
        return {self.part: [__name__, ClinicalUNet.__name__]}


def _zeroed(module: nn.Module) -> nn.Module:
    """Return a module whose output is 0 until it learns."""
    for weight in module.parameters():
        nn.init.zeros_(weight)
    return module
