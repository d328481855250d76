"""`curate rate serve|push|pull|raters`: what the commands do, and how they show it."""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from annotation.label_studio.accounts import Invitation
from curate.commands.rate import table
from curate.errors import CurateError
from curate.loop.raters import note_whole_campaigns
from curate.rating.label_studio import BACKEND, label_studio_backend
from curate.rating.people import Person
from curate.rating.plan import PushOptions, plan_campaign
from curate.rating.pull import Fetched, campaigns_of_people, pull_campaign
from curate.rating.send import Pushed, backend_that_is_up, send_campaign
from curate.rating.server import PULL_EVERY_S, ServeOptions, news, serve, watch
from curate.workspace import Workspace
from db import queries

Say = Callable[[str], None]


def push(ws: Workspace, options: PushOptions, *, images_from: str) -> Pushed:
    """Make the campaign when it is new, and send what is missing of it."""
    backend = backend_that_is_up(ws)
    campaign = plan_campaign(ws, options)
    return send_campaign(ws, campaign, backend, images_from=images_from)


def pull(ws: Workspace, names: Sequence[str], *, everything: bool) -> list[Fetched]:
    """Fetch the answers of the named campaigns, or of all."""
    backend = label_studio_backend(ws)
    campaigns = campaigns_of_people(ws, BACKEND, names)
    fetched = [pull_campaign(ws, row, backend, everything=everything) for row in campaigns]
    new = sum(entry.taken.new + entry.taken.revised for entry in fetched)
    if new:
        queries.audit.record_event(ws.session, "rate pull", {"new": new})
    note_whole_campaigns(ws)
    return fetched


def pull_lines(fetched: Sequence[Fetched]) -> list[str]:
    """Return what came, a line a campaign."""
    if not fetched:
        return ["No campaign of people yet. Make one with `curate rate push`."]
    return [line for entry in fetched for line in news(entry) or [f"{entry.campaign}: nothing new"]]


def watch_until_stopped(ws: Workspace, say: Say) -> None:
    """Pull again and again until Ctrl-C or SIGTERM."""
    watch(
        ws,
        threading.Event(),
        stop_at_a_signal(),
        every_s=PULL_EVERY_S,
        say=say,
    )


def serve_until_stopped(ws: Workspace, options: ServeOptions, say: Say) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    serve(ws, options, say=say, stop=stop_at_a_signal())


def stop_at_a_signal() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that everything ends in order."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def read_token(source: str | None) -> str | None:
    """Read a token from a file, or from the standard input for "-".

    A token on the command line would stand in the process list and the shell's history.
    """
    if source is None:
        return None
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # the value is not repeated: it may be the token itself
        raise CurateError(
            "--token takes the name of a file that holds the token, or - for the standard input; "
            "no such file can be read. (A token typed here would be seen by others.)"
        ) from None
    return text.strip()


def invitation_lines(person: Person, invitation: Invitation) -> list[str]:
    """Return what to send to the person. The password is shown this once."""
    lines = [
        f"{person.name} (level {person.expert_level}) is invited. Send to {person.email}:",
        f"  address   {invitation.url}",
    ]
    if invitation.password:
        lines += [f"  e-mail    {invitation.email}", f"  password  {invitation.password}"]
    return lines


def people_lines(people: Sequence[Person]) -> list[str]:
    """Return the raters who are people as a table."""
    if not people:
        return ["Nobody yet. Invite people with `curate rate raters invite`."]
    return table(
        ("rater", "e-mail", "level", "active"),
        [
            (person.name, person.email, person.expert_level, "yes" if person.is_active else "no")
            for person in people
        ],
    )
