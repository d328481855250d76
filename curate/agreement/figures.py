"""How far the raters of one criterion agree: figures with intervals, or why there are none.

Intervals are percentile bootstraps over images: all verdicts on a drawn image come along, since
they are no independent evidence. Shapes: I images, S resamples.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from annotation.agreement.alpha import krippendorff_alpha
from annotation.agreement.icc import intraclass_correlations
from annotation.agreement.kappa import equal_share, weighted_kappa
from annotation.agreement.pairs import PairAgreement, between_raters, second_looks, within_raters
from annotation.agreement.rasch import NoFit, RaschFit, fit_rasch
from annotation.agreement.table import Floats, GradeTable, Verdict, grade_table, resampled_images
from curate.evaluation.intervals import Estimate

RESAMPLES = 1_000
KAPPA, EQUAL, ALPHA = "weighted kappa", "equal", "Krippendorff's alpha"
ICC_AGREEMENT, ICC_CONSISTENCY, ICC_OF_MEAN = "ICC(A,1)", "ICC(C,1)", "ICC(A,k)"
OWN_KAPPA, OWN_EQUAL = "repeats: weighted kappa", "repeats: equal"


@dataclass(frozen=True)
class Figure:
    """One figure, or why it cannot be had."""

    name: str
    estimate: Estimate | None  # `num` counts images, of repeats second looks
    reason: str = ""


@dataclass(frozen=True)
class CriterionWorth:
    """What the verdicts on one criterion are worth."""

    criterion: str
    simulated: bool
    is_pairwise: bool
    num_ratings: int  # first looks
    num_images: int
    num_shared: int  # images that two raters or more rated
    num_raters: int
    figures: tuple[Figure, ...]
    severity: RaschFit | NoFit
    between: tuple[PairAgreement, ...]
    within: tuple[PairAgreement, ...]

    def figure(self, name: str) -> Figure:
        """Return the figure of this name."""
        return next(figure for figure in self.figures if figure.name == name)


def criterion_worth(
    criterion: str,
    verdicts: Sequence[Verdict],
    scale: tuple[int, int],
    *,
    simulated: bool,
    is_pairwise: bool = False,
    of: Collection[str] = (),
) -> CriterionWorth:
    """Measure one criterion's verdicts, better values up.

    With `of`, these raters alone, each with each of the others: nothing then speaks of how the
    others agree among themselves, but severities stand on one ruler.
    """
    table = grade_table(verdicts, scale)
    is_of_R = np.array([not of or rater in of for rater in table.raters])
    own_IR, num_I = table.rated_IR[:, is_of_R], table.rated_IR.sum(1)
    shared = int((own_IR.any(1) & (num_I > (own_IR.sum(1) if of else 1))).sum())
    severity = NoFit("pairs have no severity") if is_pairwise else fit_rasch(table)
    return CriterionWorth(
        criterion=criterion,
        simulated=simulated,
        is_pairwise=is_pairwise,
        num_ratings=int(own_IR.sum()),
        num_images=int(own_IR.any(1).sum()),
        num_shared=shared,
        num_raters=int(is_of_R.sum()),
        figures=(
            *_between_figures(table, shared, is_pairwise=is_pairwise, of=of),
            *_own_figures([v for v in verdicts if not of or v.rater in of], table.values),
        ),
        severity=severity,
        between=tuple(
            pair for pair in between_raters(verdicts, scale) if _counts(pair.rater, pair.other, of)
        ),
        within=tuple(pair for pair in within_raters(verdicts, scale) if not of or pair.rater in of),
    )


def _counts(rater: str, other: str, of: Collection[str]) -> bool:
    return not of or (rater in of) != (other in of)


def bootstrapped(
    num_images: int, figures: Callable[[Floats], Mapping[str, Floats]]
) -> dict[str, Estimate | None]:
    """Return each figure [S] with its 95 % interval; None where it is undefined."""
    parts: dict[str, list[Floats]] = defaultdict(list)
    for weights_SI in resampled_images(num_images, RESAMPLES):
        for name, values_S in figures(weights_SI).items():
            parts[name].append(values_S)
    found: dict[str, Estimate | None] = {}
    for name, own in parts.items():
        values_S = np.concatenate(own)
        value, resampled = float(values_S[0]), values_S[1:]
        resampled = resampled[np.isfinite(resampled)]  # a draw without any variety has no figure
        found[name] = None
        if np.isfinite(value) and len(resampled):
            low, high = np.quantile(resampled, [0.025, 0.975])
            ends = min(value, float(low)), max(value, float(high))
            found[name] = Estimate(value, *ends, num_images)
    return found


def _between_figures(
    table: GradeTable, shared: int, *, is_pairwise: bool, of: Collection[str]
) -> list[Figure]:
    names = [KAPPA, EQUAL] if of else [KAPPA, EQUAL, ALPHA]
    names += [] if is_pairwise or of else [ICC_AGREEMENT, ICC_CONSISTENCY, ICC_OF_MEAN]
    used = np.unique(table.grades_IR[table.rated_IR])
    reason = f"all ratings are {used[0]:.0f}" if len(used) == 1 else ""
    if len(table.raters) < 2:
        reason = "there is one rater"
    elif shared == 0:
        reason = "no image was rated by two raters"
    if reason:
        equal = None
        if len(used) == 1 and shared and len(table.raters) > 1:  # no variety, yet all agree
            whole = bootstrapped(len(table.images), lambda w: _mean_over_pairs(table, w, of))
            equal = whole[EQUAL]
        return [
            Figure(EQUAL, equal) if name == EQUAL and equal else Figure(name, None, reason)
            for name in names
        ]

    def agreement(weights_SI: Floats) -> dict[str, Floats]:
        if of:
            return _mean_over_pairs(table, weights_SI, of)
        correlations = intraclass_correlations(table, weights_SI)
        return {
            **_mean_over_pairs(table, weights_SI, of),
            ALPHA: krippendorff_alpha(table, weights_SI),
            ICC_AGREEMENT: correlations.agreement,
            ICC_CONSISTENCY: correlations.consistency,
            ICC_OF_MEAN: correlations.agreement_of_mean,
        }

    found = bootstrapped(len(table.images), agreement)
    return [
        Figure(name, found[name], "" if found[name] else "the ratings vary too little")
        for name in names
    ]


def _mean_over_pairs(
    table: GradeTable, weights_SI: Floats, of: Collection[str]
) -> dict[str, Floats]:
    """Means weighted by images in common, over the pairs of raters in which each is defined."""
    sums = {name: np.zeros((2, len(weights_SI))) for name in (KAPPA, EQUAL)}
    num_raters = len(table.raters)
    for one in range(num_raters):
        for other in range(one + 1, num_raters):
            both_I = table.rated_IR[:, one] & table.rated_IR[:, other]
            if not (both_I.any() and _counts(table.raters[one], table.raters[other], of)):
                continue
            columns = table.grades_IR[both_I, one], table.grades_IR[both_I, other]
            weights = weights_SI[:, both_I]
            for name, values_S in (
                (KAPPA, weighted_kappa(*columns, table.values, weights)),
                (EQUAL, equal_share(*columns, weights)),
            ):
                defined_S = np.isfinite(values_S)
                num_S = weights.sum(1) * defined_S
                sums[name] += np.stack([num_S * np.where(defined_S, values_S, 0), num_S])
    with np.errstate(invalid="ignore"):
        return {name: total / num for name, (total, num) in sums.items()}


def _own_figures(verdicts: Sequence[Verdict], values: tuple[int, ...]) -> list[Figure]:
    """Repeats of all raters together: each compared with its rater's own first look."""
    pairs = [pair for own in second_looks(verdicts).values() for pair in own]
    if not pairs:
        return [Figure(name, None, "no image was shown twice") for name in (OWN_KAPPA, OWN_EQUAL)]
    first_I, second_I = np.array(pairs, float).T
    found = bootstrapped(
        len(pairs),
        lambda weights_SI: {
            OWN_KAPPA: weighted_kappa(first_I, second_I, values, weights_SI),
            OWN_EQUAL: equal_share(first_I, second_I, weights_SI),
        },
    )
    return [
        Figure(name, found[name], "" if found[name] else "the repeats vary too little")
        for name in (OWN_KAPPA, OWN_EQUAL)
    ]
