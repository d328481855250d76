"""What leads of a study look at: the overview, rounds, releases and rating studies."""

import shlex
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from werkzeug.exceptions import NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate.production.watch import WANTED, ask_run, run_states
from curate.rating.practised import standings_of_campaign
from curate.rating.progress import rater_progress
from curate.release.classes import kept_by_class
from curate.status import read_status
from curate.web.pages import Asked, Page
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Release, Round
from db.queries.gallery import Filter

NEWEST = 12


def overview(ws: Workspace, asked: Asked) -> Page:
    """Show what is there, what works now, and what came last."""
    status = read_status(ws)
    num_ratings = queries.ratings.num_current_ratings(ws.session)
    values = {
        "name": ws.folder.name,
        "status": status,
        "runs": run_states(ws.folder)[:5],
        "rounds": queries.rounds.rounds(ws.session)[-3:][::-1],
        "newest": queries.gallery.cards(ws.session, Filter(), limit=NEWEST),
        "num_simulated": num_ratings.get(True, 0),
        "num_ratings": sum(num_ratings.values()),
    }
    return Page("overview.html", values, status.to_json())


def runs(ws: Workspace, asked: Asked) -> Page:
    """Show the runs, alone: the overview asks for them every two seconds."""
    found = run_states(ws.folder)[:5]
    return Page("runs.html", {"runs": found}, [state.to_json() for state in found])


def order_run(ws: Workspace, asked: Asked) -> Response:
    """Let a run pause, go on or stop."""
    asked.require_act()
    order = asked.request.form.get("order", "")
    if order not in WANTED:
        raise NotFound("A run can be asked to pause, to run on or to stop.")
    said = ask_run(ws.folder, asked.place["run_id"], order)
    details = {"run": asked.place["run_id"], "order": order, "by": asked.visitor.name}
    queries.audit.record_event(ws.session, "serve", details | {"said": said})
    return redirect("/", 303)


def rounds(ws: Workspace, asked: Asked) -> Page:
    """List the rounds of all loops, the newest first."""
    found = [*queries.rounds.rounds(ws.session)][::-1]
    return Page("rounds.html", {"rounds": found}, [row.model_dump(mode="json") for row in found])


def round_page(ws: Workspace, asked: Asked) -> Page:
    """Show one round: how it went, what the gate said, and both versions at equal noise."""
    row = ws.session.get(Round, asked.place["round_id"])
    if row is None:
        raise NotFound("There is no such round here.")
    new = row.new_version_id
    pairs: list[Any] = []
    for image, _ in queries.images.images(ws.session, version_id=new, limit=400) if new else []:
        others = queries.gallery.twins(ws.session, image)
        start = [other for other in others if other.version_id == row.start_version_id]
        if start:
            pairs.append((start[0], image))
        if len(pairs) == NEWEST:
            break
    version = queries.versions.find_version(ws.session, new) if new else None
    campaigns = [
        ws.session.get(Campaign, one) for one in (row.campaign_id, row.gate_campaign_id) if one
    ]
    values = {
        "round": row,
        "pairs": pairs,
        "updates": version.metrics.get("updates", []) if version else [],
        "campaigns": [one for one in campaigns if one is not None],
    }
    plain = {**row.model_dump(mode="json"), "updates": values["updates"]}
    return Page("round.html", values, plain)


def releases(ws: Workspace, asked: Asked) -> Page:
    """List the releases, the newest first."""
    found = [*queries.releases.releases(ws.session)][::-1]
    return Page(
        "releases.html", {"releases": found}, [row.model_dump(mode="json") for row in found]
    )


def release_page(ws: Workspace, asked: Asked) -> Page:
    """Show one release: its promise, and what it kept of each class."""
    row = ws.session.get(Release, asked.place["release_id"])
    if row is None:
        raise NotFound("There is no such release here.")
    counts = queries.gallery.kept_of_offered(ws.session, row.id)
    classes = kept_by_class(
        {(modality, label): kept for modality, label, kept, _ in counts},
        {(modality, label): offered for modality, label, _, offered in counts},
    )
    reasons: dict[str, int] = defaultdict(int)
    for decision in queries.releases.decisions_of(ws.session, row.id):
        reasons[decision.reason] += 1
    values = {"release": row, "classes": classes, "reasons": sorted(reasons.items())}
    plain = {**row.model_dump(mode="json"), "classes": [asdict(one) for one in classes]}
    return Page("release.html", values, plain)


def studies(ws: Workspace, asked: Asked) -> Page:
    """List the campaigns, the newest first."""
    found = queries.campaigns.progress_of_campaigns(ws.session)[::-1]
    practised = {row.campaign.id: standings_of_campaign(ws, row.campaign.id) for row in found}
    plain = [
        {
            **asdict(row),
            "campaign": row.campaign.model_dump(mode="json"),
            "practice": [one.to_json() for one in (practised[row.campaign.id] or {}).values()],
        }
        for row in found
    ]
    return Page("studies.html", {"studies": found, "practised": practised}, plain)


def study_page(ws: Workspace, asked: Asked) -> Page:
    """Show one campaign: who is how far, at which pace."""
    row = queries.campaigns.find_campaign(ws.session, asked.place["name"])
    if row is None:
        raise NotFound("There is no such study here.")
    progress = rater_progress(ws, row.id)
    values = {
        "campaign": row,
        "line": f"curate rate status --campaign {shlex.quote(row.name)}",
        "raters": progress,
        "quarantined": queries.ratings.quarantined(ws.session, row.id),
        "criteria": queries.campaigns.criteria_of(ws.session, row.rubric_id),
    }
    plain = {
        "campaign": row.model_dump(mode="json"),
        "raters": [one.to_json() for one in progress],
    }
    return Page("study.html", values, plain)
