"""How far each rater of a campaign is, and at which pace."""

import datetime as dt
from collections import defaultdict
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from uuid import UUID

from curate.rating.practised import PracticeStanding, standings_of_campaign
from curate.workspace import Workspace
from db import queries
from db.queries.ratings import Look


@dataclass(frozen=True)
class RaterProgress:
    """How far one rater is, at which pace."""

    rater: str
    simulated: bool
    done: int
    total: int
    median_s: float | None  # as the browser claims
    last_seen: dt.datetime | None
    practice: PracticeStanding | None = None  # in what comes before the campaign, if anything does

    @property
    def seconds_left(self) -> float | None:
        """Return the time that is left at this pace."""
        return None if self.median_s is None else (self.total - self.done) * self.median_s

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        practice = self.practice.to_json() if self.practice else None
        last_seen = self.last_seen.isoformat() if self.last_seen else None
        beside = {"practice": practice, "last_seen": last_seen}
        return {**asdict(self), **beside, "seconds_left": self.seconds_left}


def rater_progress(ws: Workspace, campaign_id: UUID) -> list[RaterProgress]:
    """Return how far each rater of a campaign is, by name."""
    totals: dict[str, int] = defaultdict(int)
    for view in queries.campaigns.assignments(ws.session, campaign_id):
        totals[view.rater] += 1
    looks: dict[str, list[Look]] = defaultdict(list)
    for look in queries.ratings.looks(ws.session, campaign_id):
        looks[look.rater].append(look)
    raters = queries.campaigns.raters_of(ws.session, campaign_id)
    practised = standings_of_campaign(ws, campaign_id) or {}
    found = []
    for rater in raters:
        seconds = [look.lead_time_s for look in looks[rater.name] if look.lead_time_s is not None]
        found.append(
            RaterProgress(
                rater.name,
                rater.simulated,
                len({look.assignment_id for look in looks[rater.name]}),
                totals[rater.name],
                median(seconds) if seconds else None,
                max((look.rated_at for look in looks[rater.name]), default=None),
                practised.get(rater.name),
            )
        )
    return found
