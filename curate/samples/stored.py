"""Stored images as tensors, in batches of one shape. Shapes: B images, H x W pixels."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from curate.samples.formats import decode
from curate.samples.renderings import montage
from generators.sample import Sample

Render = Callable[[Sample], Tensor]  # as in curate/samples/renderings.py


class Bytes(Protocol):
    """Files by their SHA-256: a workspace's store, or a folder's files where they lie."""

    def get(self, sha256: str) -> bytes:
        """Return a file's bytes."""
        ...


def batches(
    store: Bytes, sha256s: Sequence[str], batch_size: int, render: Render = montage
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `sha256s`, float32 images [B, 3, H, W] in [0, 1]), every image once.

    Of volumes they are montages, or what `render` makes of them. A batch holds neighbours of equal
    shape: a network gives the same for the same neighbours.
    """
    return batches_of(sha256s, batch_size, lambda sha256: render(decode(store.get(sha256))))


def batches_of(
    names: Sequence[str], batch_size: int, rendering: Callable[[str], Tensor]
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `names`, their renderings [B, ...]), neighbours of one shape together."""
    for start in range(0, len(names), batch_size):
        images = [rendering(name) for name in names[start : start + batch_size]]
        for positions, images_B3HW in by_shape(images):
            yield [start + position for position in positions], images_B3HW


def by_shape(images: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `images`, those of one shape [B, ...])."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        shapes.setdefault(tuple(image.shape), []).append(position)
    for positions in shapes.values():
        yield positions, torch.stack([images[position] for position in positions])
