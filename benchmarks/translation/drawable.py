"""Whether contrast randomisation could ever have shown a network the look-up it is tested on."""

from torch import Tensor, ones, stack
from torch.linalg import lstsq

from generators.translation.contrast import KNOTS


def can_be_drawn(from_levels: Tensor, to_levels: Tensor, tolerance: float = 0.02) -> bool:
    """Say whether some random look-up takes each of these levels to its partner, nearly.

    What is asked is whether a straight line through the pairs of each stretch between two knots can
    come that near; that neighbouring stretches must meet is not asked: True may be too generous.
    """
    last = KNOTS - 1
    stretch = (from_levels * last).floor().clamp(max=last - 1)
    steepest = float(last)
    for first in range(len(from_levels)):
        for second in range(first):
            apart = (from_levels[first] - from_levels[second]).abs().item()
            asked = (to_levels[first] - to_levels[second]).abs().item()
            if asked > steepest * apart + 2 * tolerance:
                return False
    for place in stretch.unique():
        inside = stretch == place
        if inside.sum() > 2:
            flat = ones(int(inside.sum()))
            line = stack([from_levels[inside], flat], dim=1)
            fitted = line @ lstsq(line, to_levels[inside][:, None]).solution
            if (fitted[:, 0] - to_levels[inside]).abs().max() > 2 * tolerance:
                return False
    return True
