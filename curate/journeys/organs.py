"""How many lungs and hearts a procedural film shows: a wrong number is a hallucination.

Needs no patient and no network: two grey levels part air, soft tissue and what is dense, and
connected pieces that are large enough are counted. Fluid at a lung's base is as dense as a heart:
what lies there counts as fluid. Shapes: H x W pixels.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.float64]
Box = tuple[int, int, int, int]
EXPECTED = (2, 1)  # lungs, hearts
LEAST_LUNG, LEAST_HEART = 0.02, 0.009  # of all pixels
OUTSIDE = 0.05  # darker, of 0 .. 1: no patient there
BASE = 0.55  # of the side: below this height lies fluid, but for
HEART_FROM, HEART_TO = -0.12, 0.18  # of the side, from the spine
RIM = 0.047  # of the side: narrower, what is dark is the skin or a gap between ribs
ONE_LUNG = 0.74, 0.42  # height and width that one lung may have
LOWEST_OPACITY = 0.62  # what begins below is no part of a lung above
ONE_HEART = 0.34, 0.42  # and a heart
HEART_WIDTH, HEART_HEIGHT = 0.15, 0.06  # what is narrower or lower is spine, rib or nodule
CENTRES, ROUNDS = (0.15, 0.40, 0.60), 5
SPINE_OVER_HEART = 0.1  # that much brighter, of 0 .. 1


def organs_in(image: Grey) -> tuple[int, int]:
    """Return the numbers of lungs and of hearts that a film [H, W] in 0 .. 1 shows."""
    side = len(image)
    smooth = ndimage.gaussian_filter(image, 0.7 * side / 32)
    body = ndimage.binary_erosion(
        ndimage.binary_fill_holes(smooth > OUTSIDE), iterations=side // 32
    )
    if not body.any():
        return 0, 0
    air, dense = _two_levels(image[body])
    wide = np.ones((round(RIM * side),) * 2, bool)
    lungs = _boxes(ndimage.binary_opening(body & (image < air), wide), LEAST_LUNG)
    thick = body & (image > dense)
    dense_columns = ndimage.gaussian_filter1d(thick.sum(0).astype(float), side / 16)
    aside = (np.arange(side) - int(np.argmax(dense_columns))) / side  # of the spine
    outer = (aside < HEART_FROM) | (aside > HEART_TO)
    thick[round(BASE * side) :, outer] = False  # fluid, if anything
    block = np.ones((round(HEART_HEIGHT * side), round(HEART_WIDTH * side)), bool)
    hearts = _boxes(ndimage.binary_opening(thick, block), LEAST_HEART)
    return _count(_joined(lungs, side), ONE_LUNG, side), _count(hearts, ONE_HEART, side)


def _count(boxes: list[Box], largest: tuple[float, float], side: int) -> int:
    """Return how many organs pieces are: one that is larger than an organ can be is two."""
    return sum(
        1 + (bottom - top > largest[0] * side or right - left > largest[1] * side)
        for top, bottom, left, right in boxes
    )


def _boxes(mask: NDArray[np.bool_], least: float) -> list[Box]:
    """Return (top, bottom, left, right) of connected pieces that are large enough."""
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
    return [
        (rows.start, rows.stop, columns.start, columns.stop)
        for (rows, columns), size in zip(ndimage.find_objects(pieces), sizes, strict=True)
        if size >= least * mask.size
    ]


def _joined(boxes: list[Box], side: int) -> list[Box]:
    """Return boxes of lungs: two pieces in the room of one are a lung with an opacity between."""
    upper = [box for box in boxes if box[0] < LOWEST_OPACITY * side]
    for one, other in itertools.combinations(upper, 2):
        both = np.array([one, other])
        whole = (*both[:, [0, 2]].min(0).tolist(), *both[:, [1, 3]].max(0).tolist())
        top, left, bottom, right = whole
        if bottom - top <= ONE_LUNG[0] * side and right - left <= ONE_LUNG[1] * side:
            rest = [box for box in boxes if box not in (one, other)]
            return _joined([*rest, (top, bottom, left, right)], side)
    return boxes


def _two_levels(values: Grey) -> tuple[float, float]:
    """Return the grey levels between air and soft tissue, and between that and a heart.

    Three medians, found as k-means finds means (Lloyd 1982), from where films have air, soft tissue
    and what is dense.
    """
    centres = np.array(CENTRES)
    for _ in range(ROUNDS):
        nearest = np.abs(values[:, None] - centres).argmin(1)
        centres = np.array(
            [
                np.median(values[nearest == place]) if (nearest == place).any() else centre
                for place, centre in enumerate(centres)
            ]
        )
    air, soft, _ = centres.tolist()
    heart = float(np.quantile(values, 0.99)) - SPINE_OVER_HEART
    return (air + soft) / 2, (soft + heart) / 2
