"""Pictures derived from samples, for people and for networks that read RGB.

Shapes: S slices, H x W pixels, h x w pixels of a montage. All are float32 in [0, 1].
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generators.sample import Sample

# Centre and width in HU, as radiologists set them.
WINDOWS = {"wide": (0, 2000), "lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800)}
USUAL_WINDOW = "wide"
SLICES = 9  # of a volume: what a montage shows as three rows of three
GOLDEN = 0.6180339887498949  # share of the circle of hues between two neighbouring classes


def rgb(sample: Sample, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return a picture as [3, H, W]: grey repeated, HU by a window, labels in fixed colours.

    Raises ValueError for a volume, which is no single picture: `slices` or `montage` of it are.
    """
    if sample.is_volume:
        raise ValueError(f"a volume {list(sample.array.shape)} is no single picture")
    return _rgb(sample.array, sample.kind, window)


def slices(sample: Sample, count: int = SLICES, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return `count` axial slices [S, 3, H, W] evenly from first to last; a picture is its own.

    A volume of fewer slices gives all it has.
    """
    if not sample.is_volume:
        return _rgb(sample.array, sample.kind, window)[None]
    depth = sample.array.shape[1]
    count = min(count, depth)
    places = [(2 * place + 1) * depth // (2 * count) for place in range(count)]
    return torch.stack([_rgb(sample.array[:, at], sample.kind, window) for at in places])


def montage(sample: Sample, *, window: str = USUAL_WINDOW) -> Tensor:
    """Return one picture [3, h, w]: a volume's slices in rows, the rest black; a picture as is."""
    shown = slices(sample, window=window)
    columns = math.ceil(math.sqrt(len(shown)))
    _, channels, height, width = shown.shape
    h, w = montage_size(sample.array.shape)
    tiles = torch.zeros(h // height * columns, channels, height, width)
    tiles[: len(shown)] = shown
    grid = tiles.reshape(h // height, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, h, w)


def montage_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (h, w) of the montage of samples of this shape, [C, H, W] or [C, D, H, W]."""
    depth = shape[1] if len(shape) == 4 else 1
    columns = math.ceil(math.sqrt(min(depth, SLICES)))
    rows = math.ceil(min(depth, SLICES) / columns)
    return rows * shape[-2], columns * shape[-1]


def for_backbones(sample: Sample) -> Tensor:
    """Return what backbones read: a picture [3, H, W], or a volume as slices [S, 3, H, W]."""
    return slices(sample) if sample.is_volume else rgb(sample)


def eight_bits(image_3HW: Tensor) -> np.ndarray[Any, Any]:
    """Return a rendering as uint8, for files and pages: [H, W, 3], or [H, W] where all is grey."""
    levels: np.ndarray[Any, Any] = (image_3HW * 255).round().byte().permute(1, 2, 0).numpy()
    is_grey = (levels == levels[..., :1]).all()
    return levels[..., 0] if is_grey else levels


def _rgb(array: np.ndarray[Any, Any], kind: str, window: str) -> Tensor:
    if kind == "labels":
        labels = array[0]
        classes, places = np.unique(labels, return_inverse=True)
        hues = (classes.astype(np.float64) * GOLDEN) % 1.0
        distance = np.abs((hues[:, None] * 6 - np.array([0.0, 2.0, 4.0]) + 3) % 6 - 3)
        colours = np.clip(2 - distance, 0, 1) * (classes > 0)[:, None]
        pictured: np.ndarray[Any, Any] = colours[places.reshape(labels.shape)].astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictured, 2, 0)))
    if kind == "HU":
        centre, width = WINDOWS[window]
        share = (array.astype(np.float32) - (centre - width / 2)) / width
    elif array.dtype == np.float32:
        share = array
    else:
        share = array.astype(np.float32) / np.iinfo(array.dtype).max
    values = torch.from_numpy(np.clip(share, 0, 1, dtype=np.float32))
    return values.expand(3, *values.shape[1:]).contiguous()
