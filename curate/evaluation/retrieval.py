"""Whether images and texts find each other. In shapes: N queries, M in the gallery, D features."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from curate.evaluation.features import unit

TOP = 10


def precision_at_10(
    queries_ND: Tensor,
    asked: Sequence[str | None],
    gallery_MD: Tensor,
    labels: Sequence[str | None],
) -> NDArray[np.float64]:
    """Return of each query the share of its ten nearest, by cosine, that have its label.

    MINIM's IIR counts a query as found when one of ten fits; with few classes that is nearly
    always so by chance. Of features that know nothing the share is the label's in the gallery.
    """
    near = (unit(queries_ND) @ unit(gallery_MD).T).topk(TOP, dim=1).indices.tolist()
    return np.array(
        [
            sum(labels[at] == label for at in found) / TOP
            for label, found in zip(asked, near, strict=True)
        ]
    )
