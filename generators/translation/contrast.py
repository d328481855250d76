"""Contrast randomisation: in training, an image stands for its own source in any other contrast.

Shapes: B images of one channel, H x W pixels, K knots; intensities are 0 .. 1.
"""

import torch
from torch import Tensor

KNOTS = 6  # of a look-up: between two of them it is a straight line, at most KNOTS - 1 steep
MONOTONE = 0.3  # share of look-ups that rise, or fall, all the way
DARK = 0.8  # share of look-ups that keep the background below DARK_LEVEL
DARK_LEVEL = 0.1
MOST_NOISE = 0.05  # standard deviation of what is added, drawn anew for each image


def _random_lookups(count: int) -> Tensor:
    """Return [B, K] levels that the knots are taken to, from torch's global random source."""
    levels_BK = torch.rand(count, KNOTS)
    rising_BK = levels_BK.sort(dim=1).values
    kind_B, turned_B, dark_B, depth_B = torch.rand(4, count)
    falling_B1 = (turned_B < 0.5)[:, None]
    monotone_BK = torch.where(falling_B1, rising_BK.flip(1), rising_BK)
    levels_BK = torch.where((kind_B < MONOTONE)[:, None], monotone_BK, levels_BK)
    first_B = torch.where(dark_B < DARK, depth_B * DARK_LEVEL, levels_BK[:, 0])
    return torch.cat([first_B[:, None], levels_BK[:, 1:]], dim=1)


def _look_up(image_B1HW: Tensor, levels_BK: Tensor) -> Tensor:
    """Return the images in another contrast: evenly spaced knots, straight lines between them."""
    last = levels_BK.shape[1] - 1
    places = image_B1HW.flatten(1).clamp(0, 1) * last
    lower = places.floor().clamp(max=last - 1).long()
    share = places - lower
    low, high = levels_BK.gather(1, lower), levels_BK.gather(1, lower + 1)
    return (low + share * (high - low)).view_as(image_B1HW)


def random_contrast(image_B1HW: Tensor) -> Tensor:
    """Return the images under look-ups of their own, a little noisy, 0 .. 1."""
    levels_BK = _random_lookups(len(image_B1HW)).to(image_B1HW)
    noise = torch.randn(image_B1HW.shape) * torch.rand(len(image_B1HW), 1, 1, 1) * MOST_NOISE
    return (_look_up(image_B1HW, levels_BK) + noise.to(image_B1HW)).clamp(0, 1)
