"""Simulated raters are asked, and answer at once. What is simulated says so."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from curate.progress import progress
from curate.rating.answers import (
    Taken,
    goodness,
    simulate_campaign,
    simulated_raters,
)
from curate.rating.ask import ask, candidates, items_of
from curate.rating.config import SimulateOptions
from curate.rating.draws import draw_at_random
from curate.rating.report import Agreement, agreement
from curate.workspace import Workspace
from db import queries
from db.models import Campaign
from rewards.frozen import TruthNetwork, load_eyes


@dataclass(frozen=True)
class Simulated:
    """What a simulation did in one campaign, and how its raters agree."""

    campaign: str
    taken: Taken
    num_answered: int
    num_assigned: int
    shares: dict[str, float]  # of every value, over all current ratings of the campaign
    agreement: Agreement | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "simulated": True}

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        shares = ", ".join(f"{value}: {100 * share:.0f} %" for value, share in self.shares.items())
        return [
            f"campaign {self.campaign} (simulated raters): {self.taken.new} new ratings, "
            f"{self.num_answered} of {self.num_assigned} assignments answered",
            f"  ratings (simulated)  {shares}",
            *([f"  {_summary(self.agreement)}"] if self.agreement else []),
        ]


def simulate(ws: Workspace, options: SimulateOptions) -> list[Simulated]:
    """Finish the simulated campaigns that were begun, or make and rate a new one."""
    eyes = load_eyes()
    campaigns = _campaigns_to_finish(ws, options) or [_new_campaign(ws, options, eyes)]
    return [_rate(ws, campaign, eyes) for campaign in campaigns]


def _campaigns_to_finish(ws: Workspace, options: SimulateOptions) -> list[Campaign]:
    return [
        row.campaign
        for row in queries.campaigns.progress_of_campaigns(ws.session)
        if row.campaign.backend == "simulated"
        and (
            row.num_answered < row.num_assignments
            if options.name is None
            else row.campaign.name == options.name
        )
    ]


def _new_campaign(ws: Workspace, options: SimulateOptions, eyes: TruthNetwork) -> Campaign:
    images = candidates(ws, options, modalities=eyes.modalities)
    count = len(images) if options.max_images is None else options.max_images
    chosen = draw_at_random(images, count, options.seed)
    return ask(
        ws,
        name=options.name or f"simulated-{len(queries.campaigns.campaigns(ws.session)) + 1}",
        items=items_of(
            chosen,
            purpose=options.purpose,
            selection_method="random" if count < len(images) else "all",
        ),
        shown=chosen.images,
        raters=simulated_raters(options.num_raters, eyes.identity),
        overlap=options.overlap,
        seed=options.seed,
        control_fraction=options.control_fraction,
        repeat_fraction=options.repeat_fraction,
        backend="simulated",
        modalities=eyes.modalities,
    )


def _rate(ws: Workspace, campaign: Campaign, eyes: TruthNetwork) -> Simulated:
    (before,) = _progress_of(ws, campaign)
    missing = before.num_assignments - before.num_answered
    with progress(missing, "simulated ratings") as advance:
        taken = simulate_campaign(ws, campaign, eyes=eyes, advance=advance)
    (after,) = _progress_of(ws, campaign)
    views = queries.ratings.current_ratings(ws.session, campaign_id=campaign.id)
    counts = Counter(goodness(view) for view in views)
    queries.audit.record_event(
        ws.session, "rate simulate", {"campaign": campaign.name, "new": taken.new}
    )
    return Simulated(
        campaign=campaign.name,
        taken=taken,
        num_answered=after.num_answered,
        num_assigned=after.num_assignments,
        shares={str(value): counts[value] / len(views) for value in sorted(counts)},
        agreement=next(iter(agreement(ws, campaign.name)), None),
    )


def _progress_of(ws: Workspace, campaign: Campaign) -> list[queries.campaigns.CampaignProgress]:
    rows = queries.campaigns.progress_of_campaigns(ws.session)
    return [row for row in rows if row.campaign.id == campaign.id]


def _summary(group: Agreement) -> str:
    exact = "-" if group.exact is None else f"{100 * group.exact:.0f} %"
    return (
        f"{group.num_ratings} ratings by {_kind(group.simulated)}, mean weighted kappa "
        f"{_number(group.mean_kappa, '.2f')}, equal {exact}"
    )


def _kind(simulated: bool) -> str:
    return "simulated" if simulated else "people"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
