"""Atlas: the nearest vetted images to words or to an image, for research and teaching."""

import shlex
from typing import Any
from uuid import UUID

from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate.atlas.config import FOR, SearchOptions
from curate.atlas.found import Found, search_words
from curate.site.jobs import Jobs, QueuedJob
from curate.web.pages import Asked, Page
from curate.workspace import Workspace
from db import queries

SHOWN = 8


def atlas(jobs: Jobs, ws: Workspace, asked: Asked) -> Page:
    """Ask for words or an image; show what was found for the words in the address."""
    words, modality = asked.query.get("words"), asked.query.get("modality")
    found = search_words(ws, words, modality=modality, count=SHOWN) if words else []
    line = f"curate search {shlex.quote(words or 'TEXT')}"
    line += f" --modality {shlex.quote(modality)}" if modality else ""
    values = {**_shown(ws, found), "words": words, "modality": modality, "job": None, "place": 0}
    return Page("atlas.html", {**values, "line": line}, [one.to_json() for one in found])


def ask(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Begin a search for an image that the form brings, or for one of the workspace."""
    asked.require_form()
    form = asked.request.form
    options = SearchOptions(modality=form.get("modality") or None, count=SHOWN)
    if "image_id" in form:
        try:
            job = jobs.add("search", options=options, image_id=UUID(form["image_id"]))
        except ValueError as error:
            raise BadRequest("That is no image's id.") from error
    else:
        file = asked.request.files.get("image")
        if file is None or not file.filename:
            raise BadRequest("Choose an image first.")
        # the bytes go to the worker alone, and with its answer they are gone
        job = jobs.add("search", options=options, content=file.read(), name=file.filename)
    return redirect(f"/atlas/searches/{job.id}", 303)


def result(jobs: Jobs, ws: Workspace, asked: Asked) -> Page:
    """Show what a search for an image has found, or how far it is."""
    job = job_of(jobs, asked, "search")
    found: list[Found] = job.parts[0] if job.parts else []
    if found:  # what may be shown is asked again: a campaign may have opened since
        allowed = {
            one.image_id
            for one in queries.atlas.vetted(ws.session, image_ids=[one.image_id for one in found])
        }
        found = [one for one in found if one.image_id in allowed]
    values = {
        **_shown(ws, found),
        "words": None,
        "modality": job.asked["options"].modality,
        "job": job,
        "place": jobs.place(job.id),
        "line": f"curate search {job.asked.get('image_id', 'IMAGE')}",
    }
    template = "found.html" if "part" in asked.query else "atlas.html"
    plain = {"state": job.state, "said": job.said, "found": [one.to_json() for one in found]}
    return Page(template, values, plain)


def job_of(jobs: Jobs, asked: Asked, kind: str) -> QueuedJob:
    """Return the job in the address; what it was asked with is dropped once it has ended."""
    job = jobs.find(asked.place["job_id"])
    if job is None or job.kind != kind:
        raise NotFound("This answer is not kept any more. Ask again.")
    return job


def _shown(ws: Workspace, found: list[Found]) -> dict[str, Any]:
    return {
        "synthetic": [one for one in found if one.origin == "synthetic"],
        "real": [one for one in found if one.origin == "real"],
        "modalities": queries.gallery.modalities(ws.session),
        "says": FOR,
    }
