"""What was picked among the images: a table, or a study of just these."""

import csv
import io
import shlex
from uuid import UUID

from werkzeug.exceptions import BadRequest
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate.rating.config import PushOptions
from curate.site.atlas import job_of
from curate.site.jobs import Jobs
from curate.web.pages import Asked, Page
from curate.workspace import Workspace
from db import queries

MOST_PICKED = 10_000
COLUMNS = ("image_id", "file_sha256", "origin", "modality", "label", "text", "version_id", "seed")


def use(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Save the images that the form names as a CSV, or begin a study of them."""
    asked.require_form()
    try:
        picked = [UUID(one) for one in dict.fromkeys(asked.request.form.getlist("image"))]
    except ValueError as error:
        raise BadRequest("That is no image's id.") from error
    known = queries.images.images_by_id(ws.session, picked[:MOST_PICKED])
    if not known or len(known) < len(picked):
        raise BadRequest("Pick some images first, all of this workspace.")
    if asked.request.form.get("act") == "study":
        return _begin_study(jobs, ws, asked, picked)
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(COLUMNS)
    for image_id in picked:
        image, prompt = known[image_id]
        row = {**prompt.model_dump(), **image.model_dump(), "image_id": image_id}
        table.writerow([row[name] for name in COLUMNS])
    headers = {"Content-Disposition": 'attachment; filename="selection.csv"'}
    return Response(written.getvalue(), mimetype="text/csv", headers=headers)


def _begin_study(jobs: Jobs, ws: Workspace, asked: Asked, picked: list[UUID]) -> Response:
    asked.require_act()
    name = asked.request.form.get("name", "").strip()
    overlap = asked.request.form.get("overlap", type=int, default=2)
    if not name or not 1 <= overlap <= 20:
        raise BadRequest("A study needs a name, and 1 to 20 raters an image.")
    options = PushOptions(name=name, origin="both", overlap=overlap, among=frozenset(picked))
    job = jobs.add("study", options=options)
    details = {"study": name, "images": len(picked), "by": asked.visitor.name}
    queries.audit.record_event(ws.session, "serve", details)
    return redirect(f"/images/selection/{job.id}", 303)


def study(jobs: Jobs, ws: Workspace, asked: Asked) -> Page:
    """Show whether the study was made, and how it is sent to its raters."""
    job = job_of(jobs, asked, "study")
    options: PushOptions = job.asked["options"]
    line = f"curate rate push --name {shlex.quote(options.name)} --origin both"
    line += f" --overlap {options.overlap} --among selection.csv"
    values = {"job": job, "name": options.name, "count": len(options.among or ()), "line": line}
    template = "selected.html" if "part" in asked.query else "selection.html"
    return Page(template, values, {"state": job.state, "said": job.said, "study": options.name})
