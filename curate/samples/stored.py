"""Stored images as tensors, in batches of one shape. Shapes: B images, H x W pixels."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from curate.samples.pixels import array_of, to_rgb_tensor
from db.store import FileStore


def batches(
    store: FileStore, sha256s: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `sha256s`, float32 images [B, 3, H, W] in [0, 1]), every image once.

    A batch holds neighbours of equal shape: a network gives the same for the same neighbours.
    """
    for start in range(0, len(sha256s), batch_size):
        files = [store.get(sha256) for sha256 in sha256s[start : start + batch_size]]
        for positions, images_B3HW in by_shape(files):
            yield [start + position for position in positions], images_B3HW


def by_shape(files: Sequence[bytes]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `files`, float32 images [B, 3, H, W] in [0, 1]), one batch a shape."""
    shapes: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for position, file in enumerate(files):
        image = to_rgb_tensor(array_of(file))
        shapes.setdefault(tuple(image.shape), []).append((position, image))
    for entries in shapes.values():
        yield [position for position, _ in entries], torch.stack([image for _, image in entries])
