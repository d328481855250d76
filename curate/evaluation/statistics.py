"""Plain statistics of images that a fooled reward moves first. Shapes: B images, S statistics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from curate.samples.stored import batches
from curate.workspace import Workspace

STATISTICS = ("brightness", "contrast", "detail", "colour")
BATCH = 64


def image_statistics(ws: Workspace, sha256s: Sequence[str]) -> Tensor:
    """Return float32 [B, S] of stored images, in their order."""
    values_BS = torch.empty(len(sha256s), len(STATISTICS))
    for positions, images_B3HW in batches(ws.store, sha256s, BATCH):
        values_BS[positions] = statistics_of(images_B3HW)
    return values_BS


def statistics_of(images_B3HW: Tensor) -> Tensor:
    """Return mean, standard deviation, Laplacian energy and colourfulness of images in [0, 1]."""
    grey_BHW = images_B3HW.mean(dim=1)
    inner = grey_BHW[:, 1:-1, 1:-1]
    neighbours = (
        grey_BHW[:, :-2, 1:-1]
        + grey_BHW[:, 2:, 1:-1]
        + grey_BHW[:, 1:-1, :-2]
        + grey_BHW[:, 1:-1, 2:]
    )
    laplacian = neighbours - 4 * inner
    return torch.stack(
        [
            grey_BHW.mean(dim=(1, 2)),
            grey_BHW.std(dim=(1, 2)),
            laplacian.square().mean(dim=(1, 2)).sqrt(),
            images_B3HW.std(dim=1).mean(dim=(1, 2)),
        ],
        dim=1,
    )
