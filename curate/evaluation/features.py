"""Images as features of network D, and the real images they are compared with.

Shapes: N images, M training images, V held-out real images, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.evaluation.privacy import copy_radius, nearest
from curate.progress import Advance
from curate.samples.stored import batches
from curate.workspace import Workspace
from db import queries
from rewards import frozen

FEATURE_NETWORK = "curate's feature network D"  # named wherever a figure rests on it
BATCH = 64
ENOUGH_OWN = 50  # real training images of the workspace, for KID to leave out those that ship


@dataclass(frozen=True)
class Reference:
    """Real images as features: what generators were trained on, and how near unseen ones come."""

    train_MD: Tensor
    val_distances_V: Tensor  # of held-out real images to their nearest training image
    num_own: int  # of the M, at the end: the workspace's own, after those that ship

    @property
    def radius(self) -> float:
        """Nearer than this to a training image, an image counts as its copy."""
        return copy_radius(self.val_distances_V)

    @property
    def to_resemble(self) -> Tensor:
        """What generated images should resemble: the workspace's own images where it has enough.

        Those that ship show five modalities; a user's own generator was asked for something else.
        """
        return self.train_MD[-self.num_own :] if self.num_own >= ENOUGH_OWN else self.train_MD


@torch.inference_mode()
def network_features(
    ws: Workspace,
    network: nn.Module,
    sha256s: Sequence[str],
    advance: Advance = lambda _: None,
) -> Tensor:
    """Return the features [N, D] of stored images, in their order."""
    placed: dict[int, Tensor] = {}
    for positions, images_BCHW in batches(ws.store, sha256s, BATCH):
        placed.update(zip(positions, network(images_BCHW), strict=True))
        advance(len(positions))
    if not placed:
        return frozen.train_features().features[:0]
    return torch.stack([placed[position] for position in range(len(sha256s))])


def reference_of(ws: Workspace, network: nn.Module) -> Reference:
    """Return the training images that ship as features together with the workspace's real ones.

    A real image without a split counts as a training image; those of split "val" are held out.
    """
    shipped = frozen.train_features()
    own_train = _real_features(ws, network, ("train", None))
    train_MD = torch.cat([shipped.features, own_train])
    own_val = _real_features(ws, network, ("val",))
    own_distances, _ = nearest(unit(own_val), unit(train_MD))
    return Reference(train_MD, torch.cat([shipped.val_to_train, own_distances]), len(own_train))


def unit(features_ND: Tensor) -> Tensor:
    """Return features of length 1: what distances between images are taken on."""
    return functional.normalize(features_ND, dim=1)


def _real_features(ws: Workspace, network: nn.Module, splits: Sequence[str | None]) -> Tensor:
    rows = queries.images.real_images(ws.session, splits=splits)
    return network_features(ws, network, [image.file_sha256 for image, _ in rows])
