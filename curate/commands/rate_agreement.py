"""`curate rate agreement`: what ratings are worth, as tables for a person."""

from collections.abc import Iterator, Sequence

from annotation.agreement.rasch import NoFit, RaschFit
from curate.agreement.figures import CriterionWorth
from curate.agreement.readers import RaterWorth
from curate.agreement.worth import Worth
from curate.commands.shared import table
from curate.evaluation.intervals import Estimate
from db.models import kind_of

NONE = "-"


def worth_lines(groups: Sequence[Worth]) -> list[str]:
    """Return the figures, the raters and what stands against them; 95 % intervals in brackets."""
    lines = [line for group in groups for line in _group(group)]
    return lines or ["No ratings yet. Ask for some with `curate rate push`."]


def _group(group: Worth) -> Iterator[str]:
    if group.machine:
        yield "Machines, each beside those who rated the same images; they count nowhere else"
    for worth in group.criteria:
        yield from _criterion(worth, machine=group.machine)
        yield ""
    yield from table(_RATER_HEADER, [_rater(rater) for rater in group.raters])
    if group.turing_accuracy is not None:
        yield f"real or synthetic, all raters: {_percent(group.turing_accuracy)} right"
    for warning in group.warnings:
        yield f"warning: {warning}"


def _criterion(worth: CriterionWorth, *, machine: bool) -> Iterator[str]:
    who = "raters" if not worth.simulated else "machines" if machine else "simulated raters"
    thing = "pairs" if worth.is_pairwise else "images"
    yield (
        f"{worth.criterion}: {worth.num_ratings} verdicts by {worth.num_raters} {who} on "
        f"{worth.num_images} {thing}, {worth.num_shared} of them by "
        f"{'others too' if machine else 'two or more'}"
    )
    for figure in worth.figures:
        said, found = f"none: {figure.reason}", figure.estimate
        if found is not None:
            said = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
        yield f"  {figure.name:<24}{said}"
    yield from _severity(worth.severity)
    if worth.between or worth.within:
        yield from table(
            ("  rater", "with", "images", "weighted kappa", "equal"),
            [
                (
                    f"  {pair.rater}",
                    "itself, later" if pair.rater == pair.other else pair.other,
                    pair.num_images,
                    NONE if pair.kappa is None else f"{pair.kappa:.2f}",
                    f"{100 * pair.exact:.0f} %",
                )
                for pair in [*worth.between, *worth.within]
            ],
        )


def _severity(severity: RaschFit | NoFit) -> Iterator[str]:
    if isinstance(severity, NoFit):
        yield f"  {'severity':<24}none: {severity.reason}"
        return
    rows = [
        (
            f"  {rater.rater}",
            "",
            f"{rater.severity:+.2f} ± {1.96 * rater.severity_se:.2f}",
            f"{rater.fair_mean:.2f}",
            f"{rater.infit:.2f}",
        )
        for rater in severity.raters
    ]
    yield from table(("  severity of", "", "logits, + = severe", "fair mean", "infit"), rows)
    for rater in severity.left_out:
        yield f"  {rater} is left out: a single value gives no severity"


_RATER_HEADER = (
    "rater",
    "is",
    "level",
    "images",
    "median s",
    "under 2 s",
    "controls right",
    "real or synthetic",
    "unsure",
)


def _rater(rater: RaterWorth) -> tuple[object, ...]:
    pace, turing = rater.pace, rater.turing
    return (
        rater.rater,
        kind_of(rater.rater, simulated=rater.simulated),
        rater.expert_level,
        rater.num_looks,
        NONE if pace is None else f"{pace.median_s:.1f}",
        NONE if pace is None else f"{100 * pace.hasty_share:.0f} %",
        _percent(rater.controls),
        NONE if turing is None else _percent(turing.accuracy),
        NONE if turing is None else f"{turing.num_unsure} of {turing.num_looks}",
    )


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return NONE
    low, value, high = (100 * x for x in (estimate.low, estimate.value, estimate.high))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}] of {estimate.num}"
