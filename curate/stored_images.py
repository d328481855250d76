"""Stored images as tensors, in batches of one shape. Shapes: B images, H x W pixels."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from curate.pixels import array_of, to_rgb_tensor
from db.store import FileStore


def batches(
    store: FileStore, sha256s: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `sha256s`, float32 images [B, 3, H, W] in [0, 1]), every image once.

    A batch holds neighbours of equal shape: a network gives the same for the same neighbours.
    """
    for start in range(0, len(sha256s), batch_size):
        by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for position, sha256 in enumerate(sha256s[start : start + batch_size], start):
            image = to_rgb_tensor(array_of(store.get(sha256)))
            by_shape.setdefault(tuple(image.shape), []).append((position, image))
        for entries in by_shape.values():
            yield (
                [position for position, _ in entries],
                torch.stack([image for _, image in entries]),
            )
