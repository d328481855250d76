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
    for start in range(0, len(sha256s), batch_size):
        files = [store.get(sha256) for sha256 in sha256s[start : start + batch_size]]
        for positions, images_B3HW in by_shape(files, render):
            yield [start + position for position in positions], images_B3HW


def by_shape(
    files: Sequence[bytes], render: Render = montage
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (positions in `files`, their renderings [B, ...]), one batch a shape."""
    shapes: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for position, file in enumerate(files):
        image = render(decode(file))
        shapes.setdefault(tuple(image.shape), []).append((position, image))
    for entries in shapes.values():
        yield [position for position, _ in entries], torch.stack([image for _, image in entries])
