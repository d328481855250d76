"""Answers of whoever rates -> rows. The pull is the truth; a webhook only says when to pull.

Each place (a rater's project) is one commit of its answers and of how far it was read: a pull that
is killed at any moment and repeated ends in the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from annotation.base import RatingBackend
from curate.errors import unknown_campaign
from curate.rating.answers import Taken, take_answers
from curate.rating.backends import known_backends, open_backend
from curate.rating.send import study_of
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, SyncMark


@dataclass(frozen=True)
class Fetched:
    """What a pull of one campaign brought."""

    campaign: str
    taken: Taken
    warnings: tuple[str, ...]


def pull_campaign(
    ws: Workspace,
    campaign: Campaign,
    backend: RatingBackend,
    *,
    everything: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Fetched:
    """Take what was said since the last pull; with `everything`, all that was ever said.

    `advance` is told of every so many tasks whose answers are kept.
    """
    marks = {} if everything else queries.ratings.sync_marks(ws.session, campaign.id)
    taken, warnings = Taken(), list[str]()
    for pulled in backend.pull(study_of(ws, campaign), marks):
        mark = None
        if pulled.mark is not None:
            mark = SyncMark(campaign_id=campaign.id, place=pulled.place, mark=pulled.mark)
        if pulled.record:  # in the commit of the answers
            queries.audit.add_event(ws.session, f"rate {campaign.backend} reply", pulled.record)
        taken += take_answers(ws, campaign, pulled.answers, pulled.unreadable, mark)
        warnings += pulled.warnings
        if advance is not None:
            advance(len({answer.task_uid for answer in pulled.answers}))
    return Fetched(campaign.name, taken, tuple(warnings))


def campaigns_of_people(
    ws: Workspace, backends: Sequence[str], names: Sequence[str]
) -> list[Campaign]:
    """Return the campaigns at these backends: those named, else all that are not archived."""
    known: Mapping[str, Campaign] = {
        row.name: row
        for row in queries.campaigns.campaigns(ws.session, with_archived=bool(names))
        if row.backend in backends and not row.simulated
    }
    if unknown := [name for name in names if name not in known]:
        raise unknown_campaign(unknown[0], list(known))
    return [known[name] for name in names or known]


def pull(ws: Workspace, names: Sequence[str], *, everything: bool = False) -> list[Fetched]:
    """Fetch the answers of the named campaigns of people, or of all, from wherever they rate."""
    campaigns = campaigns_of_people(ws, known_backends(), names)
    backends = {name: open_backend(ws, name) for name in {row.backend for row in campaigns}}
    fetched = [
        pull_campaign(ws, row, backends[row.backend], everything=everything) for row in campaigns
    ]
    for campaign in campaigns:  # also of what a killed pull had kept already
        if num_answers := queries.ratings.num_answers(ws.session, campaign.id):
            there = {"answers": num_answers}
            about = {"campaign": campaign.name}
            queries.audit.record_result(ws.session, "rate pull", about, there)
    return fetched
