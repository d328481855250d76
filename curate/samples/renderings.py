"""Pictures derived from samples as tensors, for networks that read RGB: `rendered` makes them.

Shapes: S slices, H x W pixels, h x w pixels of a montage. All are float32 in [0, 1].
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.samples.rendered import (
    SLICES,
    USUAL_WINDOW,
    WINDOWS,
    levels_of,
    montage_of,
    picture_of,
    slice_places,
    slices_of,
)
from generators.sample import Kind, Sample


def rgb(sample: Sample, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return a picture as [3, H, W]: grey repeated, HU by a window, labels in fixed colours.

    Raises ValueError for a volume, which is no single picture: `slices` or `montage` of it are.
    """
    if sample.is_volume:
        raise ValueError(f"a volume {list(sample.array.shape)} is no single picture")
    return torch.from_numpy(picture_of(sample.array, sample.kind, window))


def slices(sample: Sample, count: int = SLICES, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return `slices_of` a sample: [S, 3, H, W]."""
    return torch.from_numpy(slices_of(sample, count, window=window))


def montage(sample: Sample, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return the `montage_of` a sample: [3, h, w]."""
    return torch.from_numpy(montage_of(sample, window=window))


def for_backbones(sample: Sample) -> Tensor:
    """Return what backbones read: a picture [3, H, W], or a volume as slices [S, 3, H, W]."""
    return slices(sample) if sample.is_volume else rgb(sample)


def shown_to_backbones(images: Tensor, kind: Kind) -> Tensor:
    """Return generated images [B, C, *spatial] as `for_backbones` shows stored ones.

    Pictures are [B, 3, H, W], volumes slices [B, S, 3, H, W], with gradients; intensities come in
    0 .. 1.
    """
    if kind == "HU":
        centre, width = WINDOWS[USUAL_WINDOW]
        images = ((images - (centre - width / 2)) / width).clamp(0, 1)
    if images.dim() == 5:
        images = images[:, :, slice_places(images.shape[2])].transpose(1, 2)
    # grey is repeated; three channels are taken as they are
    return images.expand(*images.shape[:-3], 3, *images.shape[-2:])


def eight_bits(image_3HW: Tensor) -> np.ndarray[Any, Any]:
    """Return a rendering as uint8, for files and pages: [H, W, 3], or [H, W] where all is grey."""
    return levels_of(image_3HW.numpy())
