"""All verdicts of a workspace or a campaign -> what they are worth; people and simulated apart."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from annotation.agreement.table import Verdict
from annotation.base import SCALE
from curate.agreement.figures import CriterionWorth, criterion_worth
from curate.agreement.readers import RaterWorth, pooled_turing_accuracy, rater_worth
from curate.agreement.warnings import warnings_of
from curate.evaluation.intervals import Estimate
from curate.rating.answers import unknown_campaign
from curate.workspace import Workspace
from db import queries
from db.queries.ratings import Look

PREFERENCES = {"left": 1, "tie": 2, "right": 3}  # a pair's verdict on a scale


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
    found = queries.ratings.looks(ws.session, _campaign_id(ws, campaign))
    kinds = [[look for look in found if look.simulated == simulated] for simulated in (False, True)]
    return [_worth(looks) for looks in kinds if looks]


def _campaign_id(ws: Workspace, name: str | None) -> UUID | None:
    if name is None:
        return None
    row = queries.campaigns.find_campaign(ws.session, name)
    if row is None:
        known = [known.name for known in queries.campaigns.campaigns(ws.session)]
        raise unknown_campaign(name, known)
    return row.id


def _worth(looks: Sequence[Look]) -> Worth:
    simulated = looks[0].simulated
    criteria = tuple(
        criterion_worth(name, verdicts, scale, simulated=simulated, is_pairwise=is_pairwise)
        for (name, scale, is_pairwise), verdicts in sorted(_by_criterion(looks).items())
    )
    by_rater: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        by_rater[look.rater].append(look)
    raters = tuple(rater_worth(own) for _, own in sorted(by_rater.items()))
    return Worth(
        simulated, criteria, raters, pooled_turing_accuracy(looks), warnings_of(criteria, raters)
    )


def _by_criterion(
    looks: Iterable[Look],
) -> dict[tuple[str, tuple[int, int], bool], list[Verdict]]:
    """Verdicts by criterion and scale; spoiled controls are known to be bad and would flatter."""
    groups: dict[tuple[str, tuple[int, int], bool], list[Verdict]] = defaultdict(list)
    for look in looks:
        if look.kind == SCALE and look.spoiled is None:
            is_pairwise = look.other_image_id is not None
            scale = (1, 3) if is_pairwise else (look.min_value, look.max_value)
            groups[look.criterion, scale, is_pairwise].append(_verdict(look))
    return groups


def _verdict(look: Look) -> Verdict:
    """An image is one occasion of one campaign: a rater may see it again in the next."""
    return Verdict(
        rater=look.rater,
        image=f"{look.campaign_id}/{_shown(look)}",
        value=_value(look),
        is_repeat=look.purpose == "repeat",
    )


def _shown(look: Look) -> str:
    """A pair is the same pair with its sides changed."""
    return "/".join(sorted(str(id_) for id_ in (look.image_id, look.other_image_id) if id_))


def _value(look: Look) -> int:
    """The better end up; of a pair 1 for the image whose id comes first, 3 for the other."""
    if isinstance(look.verdict, str):
        value = PREFERENCES[look.verdict]
        assert look.other_image_id is not None
        return value if str(look.image_id) < str(look.other_image_id) else 4 - value
    if look.polarity == "higher":
        return look.verdict
    return look.min_value + look.max_value - look.verdict
