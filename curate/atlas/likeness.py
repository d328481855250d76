"""Images by their likeness to an image: cosine distance of the frozen encoder's features.

Features are standardised over the images that may be found, so that no channel counts for more
because its numbers are larger. Shapes: N images, D features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.atlas.config import SearchOptions
from curate.atlas.found import Found, known_modality, nearest_that_may_be_shown, search_words
from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.plain_images import picture_in
from curate.progress import Advance
from curate.samples.features import features_of, missing_features
from curate.samples.formats import decode
from curate.samples.renderings import for_backbones
from curate.workspace import Workspace
from db import queries
from rewards.backbones import Backbone, load_backbone

ENCODER = "embedded"
PART = 256  # images between two signs of progress
FLAT = 1e-6  # a feature that varies less is the same for all


@dataclass(frozen=True)
class Likeness:
    """The images that may be found, as directions, and how those of others are made."""

    state: list[int]  # of the workspace when they were read
    image_ids: list[UUID]
    modalities: NDArray[np.str_]
    directions_ND: NDArray[np.float32]  # standardised, of length 1
    mean_D: Tensor
    scale_D: Tensor

    def ranked(self, features_D: Tensor, modality: str | None) -> Iterator[tuple[UUID, float]]:
        """Yield (image, distance), nearest first: 0 the same direction, 1 unrelated, 2 opposite."""
        direction_D = _directions((features_D - self.mean_D) / self.scale_D).numpy()
        distances_N = 1 - self.directions_ND @ direction_D
        if modality is not None:
            distances_N[self.modalities != modality] = np.inf
        for place in np.argsort(distances_N, kind="stable"):
            if np.isinf(distances_N[place]):
                return
            yield self.image_ids[place], max(0.0, round(float(distances_N[place]), 6))


def read_likeness(ws: Workspace, backbone: Backbone, advance: Advance = lambda _: None) -> Likeness:
    """Return the images that may be found now; features that the cache lacks are computed."""
    state = queries.atlas.state(ws.session)
    images = queries.atlas.vetted(ws.session)
    hashes = [image.file_sha256 for image in images]
    new = missing_features(ws, backbone, hashes)
    advance(len(images) - len(new))
    for start in range(0, len(new), PART):
        features_of(ws, backbone, new[start : start + PART])
        advance(len(new[start : start + PART]))
    features_ND = features_of(ws, backbone, hashes)
    mean_D = features_ND.mean(dim=0)
    scale_D = features_ND.std(dim=0, correction=0)
    scale_D[scale_D < FLAT] = 1.0
    features_ND.sub_(mean_D).div_(scale_D)
    return Likeness(
        state,
        [image.image_id for image in images],
        np.array([image.modality for image in images], dtype=str),
        _directions(features_ND).numpy(),
        mean_D,
        scale_D,
    )


def _directions(features_ND: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features_ND, dim=-1)


class Searcher:
    """One open encoder and what was read of a workspace; read again when rows have come."""

    def __init__(self) -> None:
        """Load the encoder."""
        self.backbone = load_backbone(ENCODER)
        self.likeness: Likeness | None = None

    def by_file(
        self,
        ws: Workspace,
        content: bytes,
        name: str,
        options: SearchOptions,
        advance: Advance = lambda _: None,
    ) -> list[Found]:
        """Return the images nearest to a file's image, of which nothing is kept."""
        try:
            picture = picture_in(content, Path(name), ImportConfig(), lambda _: None)
        except Refused as reason:
            raise CurateError(f"{name}: {reason}") from reason
        rendering = for_backbones(decode(picture.encoded))
        with torch.no_grad():
            features_D = self.backbone.features(rendering[None])[0]
        return self._nearest(ws, features_D, options, None, advance)

    def by_image(
        self,
        ws: Workspace,
        image_id: UUID,
        options: SearchOptions,
        advance: Advance = lambda _: None,
    ) -> list[Found]:
        """Return the images nearest to one of the workspace, which itself is left out."""
        known = queries.images.images_by_id(ws.session, [image_id])
        if image_id not in known:
            raise CurateError(f"No image {image_id} here.")
        image = known[image_id][0]
        [features_D] = features_of(ws, self.backbone, [image.file_sha256])
        return self._nearest(ws, features_D, options, image.pixels_sha256, advance)

    def _nearest(
        self,
        ws: Workspace,
        features_D: Tensor,
        options: SearchOptions,
        but: str | None,
        advance: Advance,
    ) -> list[Found]:
        if self.likeness is None or self.likeness.state != queries.atlas.state(ws.session):
            self.likeness = read_likeness(ws, self.backbone, advance)
        ranked = self.likeness.ranked(features_D, known_modality(options.modality))
        return nearest_that_may_be_shown(ws, ranked, count=options.count, but=but)


def search(
    ws: Workspace, wanted: str, options: SearchOptions, advance: Advance = lambda _: None
) -> list[Found]:
    """Return the nearest images to a file, an image's id, or words, nearest first.

    What names a file is a file; a whole id is an image's; all else is words.
    """
    path = Path(wanted)
    if len(wanted) < 1_000 and path.is_file():
        return Searcher().by_file(ws, path.read_bytes(), path.name, options, advance)
    try:
        image_id = UUID(wanted)
    except ValueError:
        return search_words(ws, wanted, modality=options.modality, count=options.count)
    return Searcher().by_image(ws, image_id, options, advance)
