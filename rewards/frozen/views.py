"""Views of a real image that are still real: small crops, turns and exposures. Never flipped.

Shapes: B images, H = W = four fifths of the canvas, RGB in [0, 1].
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rewards.frozen.data import Pixels


def real_views(
    canvases: Sequence[Pixels], generator: torch.Generator, *, smallest_crop: float = 0.82
) -> Tensor:
    """Return one view of each canvas; about half are turned, half only cropped.

    The two ways resample differently (a turned image is a little softer): both count as real, so
    that the way an image was made small does not decide its quality.
    """
    squares_BCHW = torch.stack([_random_square(canvas, generator) for canvas in canvases])
    canvas = squares_BCHW.shape[-1]
    side = canvas * 4 // 5
    turned = torch.rand(len(canvases), generator=generator) < 0.5
    views = torch.empty(len(canvases), 3, side, side)
    if turned.any():
        views[turned] = _turned(squares_BCHW[turned], generator, smallest_crop)
    for place in (~turned).nonzero().flatten().tolist():
        cut = int(
            torch.randint(round(canvas * smallest_crop), canvas + 1, (1,), generator=generator)
        )
        top, left = torch.randint(canvas - cut + 1, (2,), generator=generator).tolist()
        crop = squares_BCHW[place][None, :, top : top + cut, left : left + cut]
        small = functional.interpolate(
            crop, (side, side), mode="bicubic", antialias=True, align_corners=False
        )
        views[place] = small[0]
    count = len(views)
    gamma_B111 = _uniform(count, 0.86, 1.16, generator)[:, None, None, None]
    gain_B111 = _uniform(count, 0.92, 1.08, generator)[:, None, None, None]
    return (views.clamp(0, 1) ** gamma_B111 * gain_B111).clamp(0, 1)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.empty(count).uniform_(low, high, generator=generator)


def _random_square(canvas: Pixels, generator: torch.Generator) -> Tensor:
    """Cut a square of the canvas; along a long side it may wander over the middle half."""
    short = min(canvas.shape[:2])

    def start(length: int) -> int:
        spare = length - short
        return spare // 4 + int(torch.randint(spare - spare // 2 + 1, (1,), generator=generator))

    top, left = start(canvas.shape[0]), start(canvas.shape[1])
    square = canvas[top : top + short, left : left + short]
    return torch.from_numpy(square.copy()).permute(2, 0, 1).float() / 255


def _turned(squares_BCHW: Tensor, generator: torch.Generator, smallest: float) -> Tensor:
    count, side = len(squares_BCHW), squares_BCHW.shape[-1] * 4 // 5
    angle_B = _uniform(count, -8, 8, generator) * torch.pi / 180
    zoom_B = _uniform(count, smallest, 1.0, generator)
    aspect_B = _uniform(count, 0.95, 1.05, generator)
    affine_B23 = torch.zeros(count, 2, 3)
    affine_B23[:, 0, 0] = zoom_B * aspect_B * angle_B.cos()
    affine_B23[:, 0, 1] = -zoom_B * angle_B.sin()
    affine_B23[:, 1, 0] = zoom_B * angle_B.sin()
    affine_B23[:, 1, 1] = zoom_B * angle_B.cos()
    affine_B23[:, :, 2] = torch.empty(count, 2).uniform_(-0.06, 0.06, generator=generator)
    grid = functional.affine_grid(affine_B23, [count, 3, 2 * side, 2 * side], align_corners=False)
    seen = functional.grid_sample(squares_BCHW, grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(seen, 2)  # twice the size, then halved: no aliasing
