"""What scores on a cluster's other processes: a reward model's backbone, from files to features.

A worker needs neither the database nor the store: it is sent the backbone once, then files. Almost
all of a score's time is spent here; what the model makes of the features takes milliseconds, and is
done where the rows are written.
Shapes: B images, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.cluster.versions import own_versions
from curate.samples.formats import decode
from curate.samples.renderings import for_backbones
from curate.samples.stored import by_shape
from rewards.backbones import Backbone


@dataclass(frozen=True)
class Files:
    """Images to look at: {SHA-256: file}, of one page; a page may have none."""

    page: int
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Features:
    """Their features: {SHA-256: float32 [D], on the CPU}."""

    page: int
    features: dict[str, Tensor]


class FeatureWorker:
    """A backbone in one process of the crew, on a GPU where it was given one."""

    def __init__(self, backbone: Backbone) -> None:
        """Take the backbone as it was sent."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._backbone = backbone.to(self._device)

    def versions(self) -> dict[str, str]:
        """Return what decides the features."""
        return own_versions()

    @torch.no_grad()
    def work(self, batch: Files) -> Features:
        """Return the features of the batch's images."""
        sha256s, features = list(batch.files), {}
        shown = [for_backbones(decode(file)) for file in batch.files.values()]
        for positions, images in by_shape(shown):
            features_BD = self._backbone.features(images.to(self._device)).cpu()
            for position, features_D in zip(positions, features_BD, strict=True):
                features[sha256s[position]] = features_D.clone()
        return Features(batch.page, features)
