"""Pictures derived from samples, as arrays: what people see, made without torch.

Shapes: S slices, H x W pixels, h x w pixels of a montage. All are float32 in [0, 1].
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.sample import Sample

# Centre and width in HU, as radiologists set them.
WINDOWS = {"wide": (0, 2000), "lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800)}
USUAL_WINDOW = "wide"
SLICES = 9  # of a volume: what a montage shows as three rows of three
GOLDEN = 0.6180339887498949  # share of the circle of hues between two neighbouring classes


def slices_of(
    sample: Sample, count: int = SLICES, *, window: str = USUAL_WINDOW
) -> NDArray[np.float32]:
    """Return `count` axial slices [S, 3, H, W] evenly from first to last; a picture is its own.

    A volume of fewer slices gives all it has.
    """
    if not sample.is_volume:
        return picture_of(sample.array, sample.kind, window)[None]
    places = slice_places(sample.array.shape[1], count)
    return np.stack([picture_of(sample.array[:, at], sample.kind, window) for at in places])


def slice_places(depth: int, count: int = SLICES) -> list[int]:
    """Return which slices of so many are shown, evenly from first to last."""
    count = min(count, depth)
    return [(2 * place + 1) * depth // (2 * count) for place in range(count)]


def montage_of(sample: Sample, *, window: str = USUAL_WINDOW) -> NDArray[np.float32]:
    """Return one picture [3, h, w]: a volume's slices in rows, the rest black; a picture as is."""
    shown = slices_of(sample, window=window)
    columns = math.ceil(math.sqrt(len(shown)))
    _, channels, height, width = shown.shape
    h, w = montage_size(sample.array.shape)
    tiles = np.zeros((h // height * columns, channels, height, width), np.float32)
    tiles[: len(shown)] = shown
    grid = tiles.reshape(h // height, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    return grid.reshape(channels, h, w)


def montage_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (h, w) of the montage of samples of this shape, [C, H, W] or [C, D, H, W]."""
    depth = shape[1] if len(shape) == 4 else 1
    columns = math.ceil(math.sqrt(min(depth, SLICES)))
    rows = math.ceil(min(depth, SLICES) / columns)
    return rows * shape[-2], columns * shape[-1]


def levels_of(picture_3HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a rendering as uint8: [H, W, 3], or [H, W] where all is grey."""
    levels: NDArray[np.uint8] = np.rint(picture_3HW * np.float32(255)).astype(np.uint8)
    levels = levels.transpose(1, 2, 0)
    is_grey = (levels == levels[..., :1]).all()
    return levels[..., 0] if is_grey else levels


def signed_colours(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Return shares of a scale [H, W], -1 .. 1, as blue over white to red: uint8 [H, W, 3]."""
    bounded = np.clip(shares, -1, 1)[..., None]
    white = np.full(3, 255.0)
    end = np.where(bounded > 0, np.array([178.0, 24.0, 43.0]), np.array([33.0, 102.0, 172.0]))
    mixed = white + np.abs(bounded) * (end - white)
    return np.asarray(np.rint(mixed), np.uint8)


def picture_of(array: NDArray[Any], kind: str, window: str = USUAL_WINDOW) -> NDArray[np.float32]:
    """Return [C, H, W] as [3, H, W]: grey repeated, HU by a window, classes in colours."""
    if kind == "labels":
        classes, places = np.unique(array[0], return_inverse=True)
        hues = (
            classes.astype(np.float64) * GOLDEN
        ) % 1.0  # each its own, whatever others there are
        distance = np.abs((hues[:, None] * 6 - np.array([0.0, 2.0, 4.0]) + 3) % 6 - 3)
        colours = np.clip(2 - distance, 0, 1) * (classes > 0)[:, None]
        pictured = colours[places.reshape(array[0].shape)].astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(pictured, 2, 0))
    if kind == "HU":
        centre, width = WINDOWS[window]
        share = (array.astype(np.float32) - (centre - width / 2)) / width
    elif array.dtype == np.float32:
        share = array
    else:
        share = array.astype(np.float32) / np.iinfo(array.dtype).max
    values = np.clip(share, 0, 1, dtype=np.float32)
    return np.array(np.broadcast_to(values, (3, *values.shape[1:])))  # a copy: writable
