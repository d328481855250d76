"""A loop's campaigns: shown to whoever rates, answers taken, and when they are whole."""

from contextlib import nullcontext

from annotation.base import SKIPPED
from annotation.errors import AnnotationError
from curate.progress import progress
from curate.rating.backends import backend_that_is_up
from curate.rating.eyes import RaterEyes
from curate.rating.label_studio import NoRatingPage
from curate.rating.people import people
from curate.rating.practised import standings_of_campaign
from curate.rating.pull import pull_campaign
from curate.rating.raters import Raters
from curate.rating.send import send_campaign
from curate.rating.simulate import check_same_eyes
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Comparison

WHOLE = {"pushed": "rated", "gate_pushed": "gate_rated"}  # a round, once all have answered


def show(ws: Workspace, campaign: Campaign, raters: Raters) -> str | None:
    """Show the campaign to its raters; return what stands in the way, None when it is shown.

    Again: what is missing is sent. Simulated raters look when they are asked for their answers.
    """
    if campaign.simulated:
        return None
    try:
        send_campaign(ws, campaign, backend_that_is_up(ws), images_from=raters.images_from)
    except NoRatingPage as error:
        return f"{campaign.name} cannot be shown to its raters yet: {error}"
    return None


def take(ws: Workspace, campaign: Campaign, raters: Raters) -> str | None:
    """Take the answers that are there; return who has still how much to do, None when it is whole.

    A campaign is whole when each task is answered or passed over.
    """
    trouble = ""
    num_open = sum(still for still, _ in _open_by_rater(ws, campaign).values())
    shown = progress(num_open, "simulated ratings") if campaign.simulated else nullcontext()
    try:
        with shown as advance:
            pull_campaign(ws, campaign, raters.open(ws, campaign), advance=advance)
        ws.session.commit()
    except (AnnotationError, NoRatingPage) as error:
        ws.session.rollback()
        trouble = f" ({error})"
    open_by_rater = _open_by_rater(ws, campaign)
    num_open = sum(still for still, _ in open_by_rater.values())
    if not num_open:
        return None
    total = sum(asked for _, asked in open_by_rater.values())
    practised = standings_of_campaign(ws, campaign.id) or {}
    practising = {name for name, one in practised.items() if not one.has_passed}
    by_rater = ", ".join(
        f"{rater} {asked - still} of {asked}{' (practises)' if rater in practising else ''}"
        for rater, (still, asked) in sorted(open_by_rater.items())
    )
    return f"{total - num_open} of {total} rated in {campaign.name}: {by_rater}{trouble}"


def check_loops_eyes(ws: Workspace, loop_name: str, eyes: RaterEyes) -> None:
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
        if SKIPPED in verdict.reasons
        or (verdict.preferred if isinstance(verdict, Comparison) else verdict.value) is not None
    }
    counts: dict[str, tuple[int, int]] = {}
    for view in views:
        still, asked = counts.get(view.rater, (0, 0))
        counts[view.rater] = (still + (view.id not in settled), asked + 1)
    return counts
