"""One rater at a time: pace, controls, repeats, and whether real can be told from synthetic."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from uuid import UUID

import numpy as np

from annotation.base import ORIGIN, SCALE
from curate.agreement.figures import bootstrapped
from curate.evaluation.intervals import Estimate, wilson_interval
from db.queries.campaigns import STAND_INS, stands_in
from db.queries.ratings import Look

HASTY_S = 2.0  # below that nobody has looked
REAL, SYNTHETIC, UNSURE = 1, 2, 3  # values of a question of origin


@dataclass(frozen=True)
class Pace:
    """Seconds an image, as the browser claims: a tab left open counts, hence the median."""

    num: int
    median_s: float
    quarter_s: float  # a quarter of the looks was shorter
    three_quarters_s: float
    hasty_share: float  # under two seconds


@dataclass(frozen=True)
class TuringTest:
    """Real or synthetic? Shares among the looks that were decided; 50 % is guessing."""

    num_looks: int
    num_unsure: int
    accuracy: Estimate | None
    real_as_real: Estimate | None
    synthetic_as_synthetic: Estimate | None


@dataclass(frozen=True)
class RaterWorth:
    """One rater."""

    rater: str
    simulated: bool
    expert_level: int
    num_looks: int  # images or pairs, repeats included
    pace: Pace | None
    controls: Estimate | None  # share right, Wilson's interval
    turing: TuringTest | None
    left_share: Estimate | None  # of decided pairs; 50 % is no habit
    only_value: int | None  # the one value of all its verdicts, where it has no other


def rater_worth(looks: Sequence[Look]) -> RaterWorth:
    """Measure one rater's looks."""
    rated = [look for look in looks if isinstance(look.verdict, int) and look.kind == SCALE]
    values = {look.verdict for look in rated if look.spoiled is None}
    return RaterWorth(
        rater=looks[0].rater,
        simulated=looks[0].simulated,
        expert_level=looks[0].expert_level,
        num_looks=len({look.assignment_id for look in looks}),
        pace=pace(looks),
        controls=_share(controls_right(looks)),
        turing=turing_test(looks),
        left_share=_share(
            [
                look.verdict == "left"
                for look in looks
                if look.verdict in ("left", "right") and look.purpose != "repeat"
            ]
        ),
        only_value=int(next(iter(values))) if len(values) == 1 and len(rated) > 1 else None,
    )


def pace(looks: Iterable[Look]) -> Pace | None:
    """Return how long looks took, one time a look however many criteria it answered."""
    times = {look.assignment_id: look.lead_time_s for look in looks if look.lead_time_s is not None}
    if not times:
        return None
    seconds = np.array(list(times.values()))
    quarter, median, three_quarters = np.quantile(seconds, [0.25, 0.5, 0.75])
    return Pace(
        num=len(seconds),
        median_s=float(median),
        quarter_s=float(quarter),
        three_quarters_s=float(three_quarters),
        hasty_share=float((seconds < HASTY_S).mean()),
    )


def controls_right(looks: Iterable[Look]) -> list[bool]:
    """Return for each control whether the verdict fits what is known of the image.

    A real image as it is belongs in the upper half of the scale, its middle included; one that was
    spoiled belongs below. Several criteria count as one verdict, their mean. A prior, or another
    patient, in an edit's place is judged by the criterion that it fails, where that was asked.
    """
    by_look: dict[UUID, list[Look]] = defaultdict(list)
    for look in looks:
        if look.purpose == "control" and look.kind == SCALE and isinstance(look.verdict, int):
            other = stands_in(look.spoiled)
            if other is None or look.criterion == STAND_INS[other[0]]:
                by_look[look.assignment_id].append(look)
    return [
        (fmean(goodness(look) for look in own) >= 0.5) == (own[0].spoiled is None)
        for own in by_look.values()
        if own[0].spoiled is not None or own[0].origin == "real"
    ]


def goodness(look: Look) -> float:
    """Return a verdict on a scale from 0 (worst) to 1 (best)."""
    assert isinstance(look.verdict, int)
    share = (look.verdict - look.min_value) / (look.max_value - look.min_value)
    return share if look.polarity == "higher" else 1 - share


def turing_test(looks: Iterable[Look]) -> TuringTest | None:
    """Return how well real was told from synthetic at first looks; None when nobody was asked."""
    asked = _asked_for_origin(looks)
    if not asked:
        return None
    decided = [look for look in asked if look.verdict != UNSURE]
    return TuringTest(
        num_looks=len(asked),
        num_unsure=len(asked) - len(decided),
        accuracy=_share([_is_told(look) for look in decided]),
        real_as_real=_share([_is_told(look) for look in decided if look.origin == "real"]),
        synthetic_as_synthetic=_share(
            [_is_told(look) for look in decided if look.origin == "synthetic"]
        ),
    )


def pooled_turing_accuracy(looks: Iterable[Look]) -> Estimate | None:
    """Return the accuracy of all raters together, its interval by a bootstrap over images."""
    decided = [look for look in _asked_for_origin(looks) if look.verdict != UNSURE]
    if not decided:
        return None
    places = {image: place for place, image in enumerate({look.image_id for look in decided})}
    right_I, num_I = np.zeros(len(places)), np.zeros(len(places))
    for look in decided:
        right_I[places[look.image_id]] += _is_told(look)
        num_I[places[look.image_id]] += 1
    name = "accuracy"
    return bootstrapped(
        len(places), lambda weights_SI: {name: (weights_SI @ right_I) / (weights_SI @ num_I)}
    )[name]


def _asked_for_origin(looks: Iterable[Look]) -> list[Look]:
    """A second look at an image is no new evidence, and a spoiled image no fair question."""
    return [
        look
        for look in looks
        if look.kind == ORIGIN and look.purpose != "repeat" and look.spoiled is None
    ]


def _is_told(look: Look) -> bool:
    return look.verdict == (REAL if look.origin == "real" else SYNTHETIC)


def _share(outcomes: Sequence[bool]) -> Estimate | None:
    return wilson_interval(sum(outcomes), len(outcomes)) if outcomes else None
