"""How strongly the weights are held to their start: the weight follows the measured KL."""

TOLERANCE = 1.5  # the KL may lie within target / 1.5 .. target x 1.5
FACTOR = 1.5  # an update
STOP = 3.0  # x target: the budget is overspent, the run ends
RANGE = 30.0  # the weight stays within first / 30 .. first x 30, so that it can always come back


def steered_weight(weight: float, kl: float, *, target: float, first: float) -> float:
    """Return the KL weight of the next update; `first` is the configured one."""
    if kl > TOLERANCE * target:
        weight *= FACTOR
    elif kl < target / TOLERANCE:
        weight /= FACTOR
    return min(max(weight, first / RANGE), first * RANGE)


def is_overspent(kl: float, *, target: float) -> bool:
    """Return whether the run must stop."""
    return kl > STOP * target
