"""How strongly the weights are held to their start: the anchor's weight follows the change.

What is steered is the mean squared change of the predictions, not the exact KL of the trained
steps: the two differ by a factor a step (8 between neighbours of 6), and the window moves.
"""

TOLERANCE = 1.5  # the change may lie within target / 1.5 .. target x 1.5
FACTOR = 1.5  # an update
STOP = 3.0  # x target: the budget is overspent, the run ends
RANGE = 30.0  # the weight stays within first / 30 .. first x 30, so that it can always come back


def steered_weight(weight: float, change: float, *, target: float, first: float) -> float:
    """Return the anchor's weight in the next update; `first` is the configured one."""
    if change > TOLERANCE * target:
        weight *= FACTOR
    elif change < target / TOLERANCE:
        weight /= FACTOR
    return min(max(weight, first / RANGE), first * RANGE)


def is_overspent(change: float, *, target: float) -> bool:
    """Return whether the run must stop."""
    return change > STOP * target
