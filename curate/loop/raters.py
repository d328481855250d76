"""Who rates a loop's campaigns: simulated raters at once, people in Label Studio as they can."""

from collections.abc import Sequence
from typing import Protocol

from annotation.base import SKIPPED, RaterProfile
from annotation.errors import AnnotationError
from annotation.simulated import Eyes
from curate.errors import CurateError
from curate.progress import progress
from curate.rating.answers import check_same_eyes, simulate_campaign, simulated_raters
from curate.rating.config import LOCAL
from curate.rating.label_studio import BACKEND
from curate.rating.people import active_profiles, people
from curate.rating.pull import pull_campaign
from curate.rating.send import backend_that_is_up, send_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Comparison

SIMULATED = "simulated"
WHOLE = {"pushed": "rated", "gate_pushed": "gate_rated"}  # a round, once all have answered


class Raters(Protocol):
    """Whoever rates; both steps may be taken again and change nothing then."""

    backend: str

    def profiles(self) -> Sequence[RaterProfile]:
        """Return who a new campaign asks."""
        ...

    def push(self, campaign: Campaign) -> str | None:
        """Show the campaign to its raters; return what stands in the way, None when it is shown."""
        ...

    def rate(self, campaign: Campaign) -> str | None:
        """Take the answers that are there; return what is still waited for, None when whole."""
        ...


class SimulatedRaters:
    """Raters who look through frozen networks and answer at once."""

    backend = SIMULATED

    def __init__(self, ws: Workspace, *, count: int, eyes: Eyes) -> None:
        self._ws, self._count, self._eyes = ws, count, eyes

    def profiles(self) -> list[RaterProfile]:
        """Return so many simulated raters, each with habits of its own."""
        return simulated_raters(self._count, self._eyes.identity)

    def push(self, campaign: Campaign) -> None:
        """Nothing is sent anywhere."""

    def rate(self, campaign: Campaign) -> None:
        """Answer what is open."""
        num_assignments = len(queries.campaigns.assignments(self._ws.session, campaign.id))
        with progress(num_assignments, "simulated ratings") as advance:
            simulate_campaign(self._ws, campaign, eyes=self._eyes, advance=advance)


class PeopleInLabelStudio:
    """The invited people; a campaign is whole when each task is answered or passed over."""

    backend = BACKEND

    def __init__(self, ws: Workspace, *, images_from: str = LOCAL) -> None:
        self._ws, self._images_from = ws, images_from

    def profiles(self) -> list[RaterProfile]:
        """Return all active people; CurateError when there is none."""
        return active_profiles(self._ws, ())

    def push(self, campaign: Campaign) -> str | None:
        """Send what is missing of the campaign."""
        try:
            backend = backend_that_is_up(self._ws)
        except CurateError as error:
            return f"{campaign.name} cannot be shown to its raters yet: {error}"
        send_campaign(self._ws, campaign, backend, images_from=self._images_from)
        return None

    def rate(self, campaign: Campaign) -> str | None:
        """Pull; say who has still how much to do."""
        trouble = ""
        try:
            pull_campaign(self._ws, campaign, backend_that_is_up(self._ws))
            self._ws.session.commit()
        except (AnnotationError, CurateError) as error:
            self._ws.session.rollback()
            trouble = f" ({error})"
        open_by_rater = _open_by_rater(self._ws, campaign)
        num_open = sum(still for still, _ in open_by_rater.values())
        if not num_open:
            return None
        total = sum(asked for _, asked in open_by_rater.values())
        by_rater = ", ".join(
            f"{rater} {asked - still} of {asked}"
            for rater, (still, asked) in sorted(open_by_rater.items())
        )
        return f"{total - num_open} of {total} rated in {campaign.name}: {by_rater}{trouble}"


def check_loops_eyes(ws: Workspace, loop_name: str, eyes: Eyes) -> None:
    """Raise CurateError when simulated raters with other eyes rated in an earlier campaign."""
    for row in queries.rounds.rounds(ws.session, loop_name):
        for campaign_id in filter(None, (row.campaign_id, row.gate_campaign_id)):
            asked = queries.campaigns.raters_of(ws.session, campaign_id)
            check_same_eyes(f"Loop {loop_name!r}", asked, eyes)


def is_whole(ws: Workspace, campaign: Campaign) -> bool:
    """Return whether every task has a verdict, or was passed over."""
    return not any(still for still, _ in _open_by_rater(ws, campaign).values())


def note_whole_campaigns(ws: Workspace) -> None:
    """Bring every round whose raters have answered all to its next state."""
    for row in queries.rounds.rounds(ws.session):
        if row.state not in WHOLE:
            continue
        campaign = ws.session.get(Campaign, row.gate_campaign_id or row.campaign_id)
        assert campaign is not None  # a foreign key of the round
        if is_whole(ws, campaign):
            queries.rounds.advance_round(ws.session, row, WHOLE[row.state])


def _open_by_rater(ws: Workspace, campaign: Campaign) -> dict[str, tuple[int, int]]:
    """Return {rater: (tasks without a verdict, tasks)} of those who are still asked.

    A task passed over is not open. Nobody waits for a rater who was deactivated.
    """
    gone = {person.name for person in people(ws) if not person.is_active}
    views = [
        view
        for view in queries.campaigns.assignments(ws.session, campaign.id)
        if view.rater not in gone
    ]
    verdicts = queries.ratings.latest_verdicts(ws.session, campaign, [view.id for view in views])
    settled = {
        assignment_id
        for (assignment_id, _), verdict in verdicts.items()
        if _said(verdict) is not None or SKIPPED in verdict.reasons
    }
    counts: dict[str, tuple[int, int]] = {}
    for view in views:
        still, asked = counts.get(view.rater, (0, 0))
        counts[view.rater] = (still + (view.id not in settled), asked + 1)
    return counts


def _said(verdict: queries.ratings.Verdict) -> int | str | None:
    return verdict.preferred if isinstance(verdict, Comparison) else verdict.value
