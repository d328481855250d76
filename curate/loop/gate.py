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

from curate.evaluation.intervals import Estimate, paired_bootstrap, wilson_interval
from db.queries.ratings import RatingView

ARMS = ("base", "start", "new", "real")


@dataclass(frozen=True)
class Verdict:
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
) -> Verdict:
    """Promote the new version when its share of top ratings rose and cannot have fallen far.

    It is promoted when the paired difference to the start is above 0 and the lower end of its
    interval is above -`tolerance` (a share, 0 .. 1).
    """
    arms = {"base": base_version_id, "start": start_version_id, "new": new_version_id}
    tops = {name: _top_by_prompt(ratings, version_id) for name, version_id in arms.items()}
    difference = _difference(tops["start"], tops["new"], confidence)
    metrics: dict[str, Any] = {
        "share_of_top": {name: _share(list(_flat(top))) for name, top in tops.items()},
        "difference": vars(difference),
        "num_ratings": len(ratings),
    }
    real = [_is_top(rating) for rating in ratings if rating.origin == "real"]
    if real:
        metrics["share_of_top"]["real"] = _share(real)
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
    return Verdict(risen and safe, tuple(reasons), metrics)


def _top_by_prompt(ratings: Sequence[RatingView], version_id: str) -> dict[str, list[bool]]:
    top: dict[str, list[bool]] = defaultdict(list)
    for rating in ratings:
        if rating.version_id == version_id:
            top[rating.prompt_id].append(_is_top(rating))
    return top


def _is_top(rating: RatingView) -> bool:
    best = rating.max_value if rating.polarity == "higher" else rating.min_value
    return rating.value == best


def _difference(
    start: dict[str, list[bool]], new: dict[str, list[bool]], confidence: float
) -> Estimate:
    prompts = sorted(set(start) & set(new))
    if not prompts:
        raise ValueError("the gate's campaign has no prompt rated in both versions")
    start_P = [float(np.mean(start[prompt])) for prompt in prompts]
    new_P = [float(np.mean(new[prompt])) for prompt in prompts]
    return paired_bootstrap(start_P, new_P, confidence=confidence)


def _flat(by_prompt: dict[str, list[bool]]) -> list[bool]:
    return [value for values in by_prompt.values() for value in values]


def _share(tops: Sequence[bool]) -> dict[str, float]:
    return vars(wilson_interval(sum(tops), len(tops)))
