"""A network asked about a large image window by window, its answers blended into one.

Asked so at every sampling step, neighbouring windows agree on what lies between them, and no seam
is left. Shapes: B images; a name without a suffix is [B, C, *spatial].
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from generators.base import Conditions
from generators.errors import GeneratorError

Ask = Callable[[Tensor, Tensor, Conditions], Tensor]


def _window_starts(side: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along one axis: every voxel is in one, the last ends at the end.

    `overlap` is the share of a window that the next one covers again.
    """
    stride = max(1, int(window * (1 - overlap)))
    return [
        min(number * stride, side - window)
        for number in range(math.ceil((side - window) / stride) + 1)
    ]


def blended(
    ask: Ask,
    x_t: Tensor,
    t_B: Tensor,
    conditions: Conditions,
    *,
    window: Sequence[int],
    overlap: float,
    batch_size: int,
) -> Tensor:
    """Return the mean of all windows' answers at each voxel; `channels` are cut as the image is.

    Windows are asked about in batches of one fixed shape, and added up in one order: an image's
    answer does not depend on the images beside it. A window is no larger than the image.
    """
    spatial = x_t.shape[2:]
    if len(window) != len(spatial):
        raise GeneratorError(
            f"--window {','.join(map(str, window))} for images of {len(spatial)} axes. Give one "
            "side an axis."
        )
    sides = [min(side, within) for side, within in zip(spatial, window, strict=True)]
    corners = itertools.product(
        *(_window_starts(s, w, overlap) for s, w in zip(spatial, sides, strict=True))
    )
    places = [
        (row, tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True)))
        for corner in corners
        for row in range(len(x_t))
    ]
    total = torch.zeros_like(x_t)
    counts = torch.zeros(1, 1, *spatial, device=x_t.device, dtype=x_t.dtype)
    for start in range(0, len(places), batch_size):
        some = places[start : start + batch_size]
        padded = some + some[-1:] * (batch_size - len(some))
        rows = [row for row, _ in padded]
        asked = conditions.select(rows)
        if "channels" in asked.parts:
            channels = conditions.parts["channels"]
            cut = torch.stack([channels[row][(slice(None), *where)] for row, where in padded])
            asked = Conditions({**asked.parts, "channels": cut})
        x = torch.stack([x_t[row][(slice(None), *where)] for row, where in padded])
        answers = ask(x, t_B[rows], asked)
        for answer, (row, where) in zip(answers, some, strict=False):
            total[row][(slice(None), *where)] += answer
            if row == 0:
                counts[(slice(None), slice(None), *where)] += 1
    return total / counts
