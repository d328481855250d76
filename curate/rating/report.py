"""How far campaigns are, what raters are like, how far they agree; simulated ones are marked."""

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any
from uuid import UUID

from annotation.agreement.pairs import (
    PairAgreement,
    RaterSummary,
    between_raters,
    summaries,
    within_raters,
)
from annotation.agreement.table import Verdict
from curate.rating.answers import find_campaign
from curate.rating.practised import standings_of_campaign
from curate.workspace import Workspace
from db import queries
from db.models import BY_MACHINE
from db.queries.ratings import RatingView, goodness, looks_good

GOOD = "good"  # every criterion of a look has its top grade


@dataclass(frozen=True)
class Agreement:
    """How far the raters of one criterion agree."""

    criterion: str
    simulated: bool
    num_ratings: int
    mean_kappa: float | None  # quadratic weights, mean over pairs weighted by shared images
    exact: float | None  # share of equal values, weighted likewise
    between: list[PairAgreement]
    within: list[PairAgreement]  # first and second looks: repeats

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class RaterRow:
    """One rater in the table of raters."""

    simulated: bool
    expert_level: int
    criterion: str
    summary: RaterSummary
    own_exact: float | None  # share of repeats with the same value

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        return {**values.pop("summary"), **values}


def campaign_rows(ws: Workspace) -> list[dict[str, Any]]:
    """Return how far each campaign is, oldest first, and how many have passed its practice."""
    return [
        {
            "practice": _practice_of(ws, row.campaign.id),
            "campaign": row.campaign.name,
            "simulated": row.campaign.simulated,
            "backend": row.campaign.backend,
            "raters_are": "a machine"
            if row.campaign.backend == BY_MACHINE
            else "simulated"
            if row.campaign.simulated
            else "people",
            "overlap": row.campaign.overlap,
            "raters": row.num_raters,
            "images": row.num_images,
            "assigned": row.num_assignments,
            "answered": row.num_answered,
        }
        for row in queries.campaigns.progress_of_campaigns(ws.session)
    ]


def _practice_of(ws: Workspace, campaign_id: UUID) -> dict[str, Any] | None:
    found = queries.practices.practice_of(ws.session, campaign_id)
    if found is None:
        return None
    own = standings_of_campaign(ws, campaign_id) or {}
    return {
        "practice": found[0].name,
        "passed": sum(one.has_passed for one in own.values()),
        "raters": [one.to_json() for one in own.values()],
    }


def agreement(ws: Workspace, campaign: str | None = None) -> list[Agreement]:
    """Return the raters' agreement, criterion by criterion; people and simulated raters apart."""
    found = []
    for (simulated, criterion), views in _groups(ws, campaign):
        scale = (views[0].min_value, views[0].max_value)
        verdicts = [_verdict(view) for view in views]
        between = between_raters(verdicts, scale)
        kappas = [(pair.kappa, pair.num_images) for pair in between if pair.kappa is not None]
        found.append(
            Agreement(
                criterion=criterion,
                simulated=simulated,
                num_ratings=len(views),
                mean_kappa=_weighted_mean(kappas),
                exact=_weighted_mean([(pair.exact, pair.num_images) for pair in between]),
                between=between,
                within=within_raters(verdicts, scale),
            )
        )
    return found


def rater_rows(ws: Workspace, campaign: str | None = None) -> list[RaterRow]:
    """Return each rater's habits; severity is against the others on the same images."""
    rows = []
    for (simulated, criterion), views in _groups(ws, campaign):
        scale = (views[0].min_value, views[0].max_value)
        verdicts = [_verdict(view) for view in views]
        levels = {view.rater: view.expert_level for view in views}
        own = {pair.rater: pair.exact for pair in within_raters(verdicts, scale)}
        rows += [
            RaterRow(simulated, levels[summary.rater], criterion, summary, own.get(summary.rater))
            for summary in summaries(verdicts, scale)
        ]
    return rows


def _groups(ws: Workspace, campaign: str | None) -> list[tuple[tuple[bool, str], list[RatingView]]]:
    campaign_id = None if campaign is None else find_campaign(ws, campaign).id
    groups: dict[tuple[bool, str], list[RatingView]] = defaultdict(list)
    views = queries.ratings.current_ratings(ws.session, campaign_id=campaign_id)
    for view in views:
        groups[view.simulated, view.criterion].append(view)
    for simulated in {simulated for simulated, _ in groups}:
        if sum(of == simulated for of, _ in groups) > 1:  # beside them the rule: all at the top
            own = [view for view in views if view.simulated == simulated]
            groups[simulated, GOOD] = [
                replace(view, value=int(is_good), min_value=0, max_value=1, polarity="higher")
                for view, is_good in looks_good(own)
            ]
    return sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] != GOOD, group[0][1]))


def _verdict(view: RatingView) -> Verdict:
    """An image is one occasion of one campaign: a rater may see it again in the next."""
    return Verdict(
        rater=view.rater,
        image=f"{view.campaign_id}/{view.image_id}",
        value=goodness(view),
        is_repeat=view.purpose == "repeat",
    )


def _weighted_mean(pairs: list[tuple[float, int]]) -> float | None:
    if not pairs:
        return None
    return fmean([value for value, _ in pairs], weights=[number for _, number in pairs])
