"""All verdicts of a workspace or a campaign -> what they are worth; people and simulated apart."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from annotation.agreement.table import Verdict
from annotation.base import PREFERENCES, SCALE
from curate.agreement.figures import CriterionWorth, criterion_worth
from curate.agreement.readers import RaterWorth, pooled_turing_accuracy, rater_worth
from curate.agreement.warnings import warnings_of
from curate.evaluation.intervals import Estimate
from curate.rating.answers import find_campaign
from curate.workspace import Workspace
from db import queries
from db.queries.ratings import Look


@dataclass(frozen=True)
class Worth:
    """What the ratings of one kind of raters are worth."""

    simulated: bool
    criteria: tuple[CriterionWorth, ...]
    raters: tuple[RaterWorth, ...]
    turing_accuracy: Estimate | None  # of all raters; None: nobody was asked, or decided
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def ratings_worth(ws: Workspace, campaign: str | None = None) -> list[Worth]:
    """Measure all ratings, or one campaign's; people first. CurateError when it is unknown."""
    campaign_id = None if campaign is None else find_campaign(ws, campaign).id
    found = queries.ratings.looks(ws.session, campaign_id)
    worths = []
    for simulated in (False, True):
        looks = [look for look in found if look.simulated == simulated]
        if not looks:
            continue
        criteria = tuple(
            criterion_worth(name, verdicts, scale, simulated=simulated, is_pairwise=is_pairwise)
            for (name, scale, is_pairwise), verdicts in sorted(
                _verdicts_by_criterion(looks).items()
            )
        )
        by_rater: dict[str, list[Look]] = defaultdict(list)
        for look in looks:
            by_rater[look.rater].append(look)
        raters = tuple(rater_worth(own) for _, own in sorted(by_rater.items()))
        accuracy = pooled_turing_accuracy(looks)
        worths.append(Worth(simulated, criteria, raters, accuracy, warnings_of(criteria, raters)))
    return worths


def _verdicts_by_criterion(
    looks: Iterable[Look],
) -> dict[tuple[str, tuple[int, int], bool], list[Verdict]]:
    """Verdicts by criterion, scale and whether pairs are compared, the better end up.

    Spoiled controls are known to be bad and would flatter. An image is one occasion of one
    campaign: a rater may see it again in the next. A pair is the same pair with its sides changed:
    its value is 1 for the image whose id comes first, 3 for the other.
    """
    groups: dict[tuple[str, tuple[int, int], bool], list[Verdict]] = defaultdict(list)
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
    return groups
