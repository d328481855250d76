"""The promotion gate: a fresh blind campaign decides whether a round's new version is kept.

Nothing learned takes part. Base, start (what the round began with), new and, where there are any,
real images are rated blind in one campaign; start and new share prompts and seeds, so that their
difference is paired. Shapes: P prompts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.evaluation.intervals import paired_bootstrap, wilson_interval
from db.queries.ratings import RatingView

ARMS = ("base", "start", "new", "real")


@dataclass(frozen=True)
class GateVerdict:
    """What the gate found, and why."""

    promoted: bool
    reasons: tuple[str, ...]
    metrics: dict[str, Any]


def judge_round(
    ratings: Sequence[RatingView],
    *,
    base_version_id: str,
    start_version_id: str,
    new_version_id: str,
    tolerance: float,
    confidence: float,
) -> GateVerdict:
    """Promote the new version when its share of top ratings rose and cannot have fallen far.

    It is promoted when the paired difference to the start is above 0 and the lower end of its
    interval is above -`tolerance` (a share, 0 .. 1).
    """
    arms = {"base": base_version_id, "start": start_version_id, "new": new_version_id}
    tops: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in arms}
    real: list[bool] = []
    for rating in ratings:
        best = rating.max_value if rating.polarity == "higher" else rating.min_value
        if rating.origin == "real":
            real.append(rating.value == best)
        for name, version_id in arms.items():  # two of them may be one version
            if rating.version_id == version_id:
                tops[name][rating.prompt_id].append(rating.value == best)
    prompts = sorted(set(tops["start"]) & set(tops["new"]))
    if not prompts:
        raise ValueError("the gate's campaign has no prompt rated in both versions")
    start_P, new_P = (
        [float(np.mean(tops[name][prompt])) for prompt in prompts] for name in ("start", "new")
    )
    difference = paired_bootstrap(start_P, new_P, confidence=confidence)
    shares = {name: [one for each in top.values() for one in each] for name, top in tops.items()}
    shares |= {"real": real} if real else {}
    metrics: dict[str, Any] = {
        "share_of_top": {
            name: vars(wilson_interval(sum(top), len(top))) for name, top in shares.items()
        },
        "difference": vars(difference),
        "num_ratings": len(ratings),
    }
    risen, safe = difference.value > 0, difference.low > -tolerance
    found = (
        f"share of top ratings changed by {100 * difference.value:+.1f} points "
        f"({100 * confidence:.0f} % interval {100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}) over {difference.num} prompts"
    )
    reasons = [found]
    if not risen:
        reasons.append("the new version was not rated better")
    if not safe:
        reasons.append(f"a fall of more than {100 * tolerance:.0f} points cannot be excluded")
    return GateVerdict(risen and safe, tuple(reasons), metrics)
