"""The budget of an RL step: how far predictions may move, and how the weights are held to it.

The anchor in the loss pulls back, but a weight on a loss acts late: by the time it has risen the
budget is overspent, and by the time it has fallen the gain is gone. So the way from the start is
scaled itself, after every update, by as much as the next one is expected to overshoot. What is
measured is a distance, the root of a mean squared change of predictions: it grows in proportion to
the weights' way, and by about as much in each update.
"""

import math
from dataclasses import dataclass

# gains of an alpha-beta filter once it has settled; before that it averages what there is
NEARER, FASTER = 0.7, 0.3


@dataclass(frozen=True)
class Drift:
    """Where the policy is expected when the next update measures it."""

    distance: float = 0.0  # from the start
    speed: float = 0.0  # what an update adds to it, unscaled
    share: float = 1.0  # of the way that was kept after the last update
    measured: int = 0  # times

    def after(self, distance: float, budget: float) -> "Drift":
        """Return it after an update that found `distance` before its step; see `share`.

        `budget` is a distance, too.
        """
        if self.measured == 0:  # at the start, where there is nothing to see yet
            return Drift(measured=1)
        nearer = max(1 / self.measured, NEARER)
        faster = max(1 / self.measured**1.5, FASTER)
        surprise = distance - self.distance
        now = min(self.distance + nearer * surprise, distance)  # what was seen short is not cut
        speed = max(self.speed + faster * surprise / max(self.share, 0.1), 0.0)
        ahead = now + speed
        share = 1.0 if ahead <= budget else budget / ahead
        return Drift(share * ahead, speed, share, self.measured + 1)


def allowed_distance(
    change: float, base_change: float | None, start_change: float, *, target: float, base: float
) -> float:
    """Return how far from the start the policy may go in the direction that it has taken.

    Mean squared changes of predictions: `change` from the start to the policy, `base_change` from
    the base to it, `start_change` from base to start; `target` and `base` are what the first two
    may be. Along the policy's way, of which a share s is kept, the change from the base is
    start_change + 2 s x + s^2 change; x is what the two ways have in common.
    """
    most = math.sqrt(target)
    if base_change is None or math.isinf(base):
        return most
    if start_change >= base:
        return 0.0
    if change <= 0:
        return min(most, math.sqrt(base) - math.sqrt(start_change))
    common = (base_change - start_change - change) / 2
    share = (-common + math.sqrt(common**2 + change * (base - start_change))) / change
    return min(most, share * math.sqrt(change))
