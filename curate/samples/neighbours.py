"""Images that lie too near to another one, found with faiss's exact index.

Shapes: N images, M known images, D features. Distances are Euclidean.
"""

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 512  # images compared at a time with those that stay

Vectors = NDArray[np.float32]


def nearest_known(features_ND: Tensor, known_MD: Tensor) -> Tensor:
    """Return each image's distance [N] to the nearest known one; infinite when none is known."""
    if not len(known_MD) or not len(features_ND):
        return torch.full((len(features_ND),), torch.inf)
    known = _vectors(known_MD)
    index = faiss.IndexFlatL2(known.shape[1])
    index.add(known)
    _, places_N = _search(index, _vectors(features_ND))
    return torch.from_numpy(_distances(_vectors(features_ND), known[places_N]))


def first_within(features_ND: Tensor, radius: float) -> list[int | None]:
    """Return, for each image in order, an image before it that stays and is within `radius`.

    None: the image stays itself. An image that goes drops no other.
    """
    features = _vectors(features_ND)
    index = faiss.IndexFlatL2(features.shape[1])
    stays: list[int] = []
    answers: list[int | None] = []
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        earlier = _twins_among(index, stays, features, block, radius)
        stays_here: list[int] = []
        for row, twin in enumerate(earlier):
            if twin is None and stays_here:
                distances = _distances(block[row], block[stays_here])
                nearest = int(distances.argmin())
                twin = start + stays_here[nearest] if distances[nearest] < radius else None
            answers.append(twin)
            if twin is None:
                stays_here.append(row)
        index.add(np.ascontiguousarray(block[stays_here]))
        stays += [start + row for row in stays_here]
    return answers


def _twins_among(
    index: faiss.IndexFlatL2, stays: list[int], features: Vectors, block: Vectors, radius: float
) -> list[int | None]:
    if not stays:
        return [None] * len(block)
    _, places = _search(index, block)
    near = _distances(block, features[[stays[place] for place in places]]) < radius
    return [stays[p] if n else None for p, n in zip(places.tolist(), near.tolist(), strict=True)]


def _search(index: faiss.IndexFlatL2, vectors: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
    squared, places = index.search(vectors, 1)
    return squared[:, 0], places[:, 0]


def _distances(left: Vectors, right: Vectors) -> Vectors:
    """Distances anew: faiss's own come from dot products and lose digits where they matter."""
    distances: Vectors = np.linalg.norm(left - right, axis=-1)
    return distances


def _vectors(features: Tensor) -> Vectors:
    return np.ascontiguousarray(features.detach().float().numpy())
