"""All verdicts of a workspace or a campaign -> what they are worth; people and simulated apart."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from annotation.agreement.table import Verdict
from annotation.base import PREFERENCES, SCALE
from curate.agreement.figures import CriterionWorth, criterion_worth
from curate.agreement.readers import RaterWorth, pooled_turing_accuracy, rater_worth
from curate.agreement.warnings import warnings_of
from curate.evaluation.intervals import Estimate
from curate.rating.answers import find_campaign
from curate.rating.report import GOOD
from curate.workspace import Workspace
from db import queries
from db.models import A_MACHINE, A_PERSON, SIMULATED, kind_of
from db.queries.ratings import Look


@dataclass(frozen=True)
class Worth:
    """What the ratings of one kind of raters are worth."""

    simulated: bool
    criteria: tuple[CriterionWorth, ...]
    raters: tuple[RaterWorth, ...]
    turing_accuracy: Estimate | None  # of all raters; None: nobody was asked, or decided
    warnings: tuple[str, ...]
    machine: bool = False  # vision-language models, each measured beside who rated the same images

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def ratings_worth(ws: Workspace, campaign: str | None = None) -> list[Worth]:
    """Measure all ratings, or one campaign's; people first. CurateError when it is unknown.

    Machines come last, each beside the people who rated the same images, or beside the simulated
    raters where no person did: their own campaign counts as the one that it follows.
    """
    by_kind: dict[str, list[Look]] = defaultdict(list)
    for look in _looks(ws, campaign):
        by_kind[kind_of(look.rater, simulated=look.simulated)].append(look)
    worths = []
    for kind in (A_PERSON, SIMULATED, A_MACHINE):
        looks, simulated, beside = by_kind[kind], kind != A_PERSON, list[Look]()
        if not looks:
            continue
        if kind == A_MACHINE:
            beside = by_kind[A_PERSON] or by_kind[SIMULATED]
        of = {look.rater for look in looks} if kind == A_MACHINE else ()
        criteria = tuple(
            criterion_worth(
                name, verdicts, scale, simulated=simulated, is_pairwise=is_pairwise, of=of
            )
            for (name, scale, is_pairwise), verdicts in sorted(
                _verdicts_by_criterion([*looks, *beside]).items()
            )
        )
        by_rater: dict[str, list[Look]] = defaultdict(list)
        for look in looks:
            by_rater[look.rater].append(look)
        raters = tuple(rater_worth(own) for _, own in sorted(by_rater.items()))
        accuracy = pooled_turing_accuracy(looks)
        warnings = warnings_of(criteria, raters)
        worths.append(Worth(simulated, criteria, raters, accuracy, warnings, kind == A_MACHINE))
    return worths


def _looks(ws: Workspace, name: str | None) -> list[Look]:
    """Return the looks of a campaign with those of the machines that follow it, or all."""
    rows = queries.campaigns.campaigns(ws.session)
    follows = {row.id: UUID(row.config.get("of", str(row.id))) for row in rows}
    if name is None:
        found = queries.ratings.looks(ws.session)
    else:
        followed = follows[find_campaign(ws, name).id]
        wanted = [campaign_id for campaign_id, own in follows.items() if own == followed]
        found = [look for one in wanted for look in queries.ratings.looks(ws.session, one)]
    return [replace(look, campaign_id=follows[look.campaign_id]) for look in found]


def _verdicts_by_criterion(
    looks: Iterable[Look],
) -> dict[tuple[str, tuple[int, int], bool], list[Verdict]]:
    """Verdicts by criterion, scale and whether pairs are compared, the better end up.

    Spoiled controls are known to be bad and would flatter. An image is one occasion of one
    campaign: a rater may see it again in the next. A pair is the same pair with its sides changed:
    its value is 1 for the image whose id comes first, 3 for the other. Beside several criteria
    stands whether the image was good: every answered one at its top.
    """
    groups: dict[tuple[str, tuple[int, int], bool], list[Verdict]] = defaultdict(list)
    tops: dict[UUID, dict[str, bool]] = defaultdict(dict)  # by look and criterion
    last: dict[UUID, Verdict] = {}
    for look in looks:
        if look.kind != SCALE or look.spoiled is not None:
            continue
        sides = [str(image_id) for image_id in (look.image_id, look.other_image_id) if image_id]
        scale = (1, 3) if len(sides) == 2 else (look.min_value, look.max_value)
        if isinstance(look.verdict, str):
            value, is_turned = PREFERENCES.index(look.verdict) + 1, sides[0] > sides[1]
        else:
            value, is_turned = look.verdict, look.polarity != "higher"
        verdict = Verdict(
            rater=look.rater,
            image=f"{look.campaign_id}/{'/'.join(sorted(sides))}",
            value=sum(scale) - value if is_turned else value,
            is_repeat=look.purpose == "repeat",
        )
        groups[look.criterion, scale, len(sides) == 2].append(verdict)
        if len(sides) == 1:
            tops[look.assignment_id][look.criterion] = verdict.value == scale[1]
            last[look.assignment_id] = verdict
    if len({name for own in tops.values() for name in own}) > 1:
        groups[GOOD, (0, 1), False] = [
            replace(last[look_id], value=int(all(own.values()))) for look_id, own in tops.items()
        ]
    return groups
