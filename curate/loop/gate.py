"""The promotion gate: a fresh blind campaign decides whether a round's new version is kept.

Nothing learned takes part. Base, start (what the round began with), new and, where there are any,
real images are rated blind in one campaign; start and new share prompts and seeds, so that their
difference is paired. Shapes: P prompts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.evaluation.intervals import paired_t, wilson_interval
from curate.loop.config import LoopConfig
from curate.loop.power import looks, power
from db.queries.ratings import RatingView, goodness, looks_good

RISES = (0.03, 0.10)  # of the share rated top, of which the power is told
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

    It is promoted when this `is_rise`: the paired difference to the start is above 0 and the lower
    end of its interval is above -`tolerance` (a share, 0 .. 1): with 0, when it surely rose.
    """
    arms = {"base": base_version_id, "start": start_version_id, "new": new_version_id}
    tops: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in arms}
    real: list[bool] = []
    for rating, is_good in looks_good(ratings):
        if rating.origin == "real":
            real.append(is_good)
        for name, version_id in arms.items():  # two of them may be one version
            if rating.version_id == version_id:
                tops[name][rating.prompt_id].append(is_good)
    prompts = sorted(set(tops["start"]) & set(tops["new"]))
    if not prompts:
        raise ValueError("the gate's campaign has no prompt rated in both versions")
    start_P, new_P = (
        [float(np.mean(tops[name][prompt])) for prompt in prompts] for name in ("start", "new")
    )
    difference = paired_t(start_P, new_P, confidence=confidence)
    shares = {name: [one for each in top.values() for one in each] for name, top in tops.items()}
    shares |= {"real": real} if real else {}
    metrics: dict[str, Any] = {
        "share_of_top": {
            name: vars(wilson_interval(sum(top), len(top))) for name, top in shares.items()
        },
        "difference": vars(difference),
        "num_ratings": len(ratings),
    }
    beside = _by_criterion(ratings, arms)
    if len(beside) > 1:
        metrics["by_criterion"] = beside
    found = (
        f"share of top ratings changed by {100 * difference.value:+.1f} points "
        f"({100 * confidence:.0f} % interval {100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}) over {difference.num} prompts"
    )
    reasons = [found]
    if len(beside) > 1:
        parts = [
            f"{name} {100 * own['start']['value']:.0f} to {100 * own['new']['value']:.0f} %"
            for name, own in beside.items()
            if "start" in own and "new" in own
        ]
        reasons.append(f"top grades on each criterion: {', '.join(parts)}")
    if difference.value <= 0:
        reasons.append("the new version was not rated better")
    if difference.low <= -tolerance:
        of_more = f" of more than {100 * tolerance:.0f} points" if tolerance else ""
        reasons.append(f"a fall{of_more} cannot be excluded")
    return GateVerdict(difference.is_rise(tolerance), tuple(reasons), metrics)


def _by_criterion(
    ratings: Sequence[RatingView], arms: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {criterion: {arm: share of top grades among its answers, with its interval}}."""
    tops: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for rating in ratings:
        for name, version_id in arms.items():
            if rating.version_id == version_id:
                tops[rating.criterion][name].append(goodness(rating) == rating.max_value)
    return {
        criterion: {name: vars(wilson_interval(sum(top), len(top))) for name, top in own.items()}
        for criterion, own in sorted(tops.items())
    }


def power_in_words(config: LoopConfig, num_prompts: int) -> str:
    """Return what the loop's gate will find, one line."""
    finds = " and ".join(
        f"{power(config, num_prompts, rise):.0%} of those that rise by {100 * rise:.0f} points"
        for rise in RISES
    )
    return (
        f"gate: {num_prompts} prompts x {config.gate_images_per_prompt} images, "
        f"{looks(config)} raters each, promotes {power(config, num_prompts, 0.0):.0%} of versions "
        f"that are no better and {finds} (share rated top; as simulated raters scatter)"
    )
