"""Try: images made while one waits. Nothing is stored unless it is kept."""

import io
import zipfile
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from werkzeug.exceptions import NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate.modalities import ALIASES
from curate.samples.formats import decode
from curate.samples.marks import marked
from curate.samples.rendered import levels_of, montage_of
from curate.site.atlas import job_of
from curate.site.jobs import Jobs, QueuedJob
from curate.site.wish import BATCH, OF_FILE, Wish, wish_of
from curate.web.pages import Asked, Page
from curate.workspace import Workspace
from db import queries
from db.errors import StoreError

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # equal images, equal archive
PNG_START = b"\x89PNG"


def form(jobs: Jobs, ws: Workspace, asked: Asked) -> Page:
    """Show what can be asked of a version, once the worker has opened it and said what it takes."""
    aside = set(queries.archive.archived_ids(ws.session, "version"))
    versions = [v for v in queries.versions.versions(ws.session) if v.id not in aside][::-1]
    latest = queries.versions.latest_version(ws.session)  # no version that a round rejected
    chosen = asked.query.get("version") or (latest.id if latest else None)
    job = None
    if chosen is not None:
        _known(ws, chosen)
        job = jobs.latest("inputs", version_id=chosen)
        if job is None or (job.state == "failed" and "part" not in asked.query):
            job = jobs.add("inputs", version_id=chosen)
    values: dict[str, Any] = {
        **_like(ws, asked),
        "versions": versions,
        "chosen": chosen,
        "job": job,
        "inputs": job.parts[0] if job and job.parts else None,
        "modalities": sorted({*queries.gallery.modalities(ws.session), *ALIASES}),
        "line": f"curate generate --version {(chosen or 'latest')[:12]} --modality OCT "
        f"--prompt drusen --count 4 --batch-size {BATCH}",
    }
    template = "inputs.html" if "part" in asked.query else "try.html"
    return Page(template, values, {"version": chosen, "inputs": values["inputs"]})


def _like(ws: Workspace, asked: Asked) -> dict[str, Any]:
    """Return what an image of the workspace was asked with, to begin the form with."""
    like = asked.query.get("like")
    nothing: dict[str, Any] = {"like": None, "prompt": None, "conditions": {}}
    try:
        image_id = UUID(like or "")
    except ValueError:
        return nothing
    found = queries.images.images_by_id(ws.session, [image_id]).get(image_id)
    if found is None:
        return nothing
    image, prompt = found
    conditions = dict(queries.prompts.conditions_of(ws.session, [prompt.id]).get(prompt.id, {}))
    conditions |= dict.fromkeys(("prior", "source"), str(image_id)) if not conditions else {}
    return {"like": like, "prompt": prompt, "conditions": conditions}


def begin(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Queue what the form asks for."""
    asked.require_form()
    files = {
        name: (file.filename, file.read())
        for name, file in asked.request.files.items()
        if name.startswith(OF_FILE) and file.filename
    }
    wish = wish_of(asked.request.form, files)
    for version_id, _ in wish.columns:
        _known(ws, version_id)
    return redirect(f"/try/{jobs.add('try', wish=wish).id}", 303)


def tried(jobs: Jobs, ws: Workspace, asked: Asked) -> Page:
    """Show the images that are there, and how far the rest is."""
    job = job_of(jobs, asked, "try")
    wish: Wish = job.asked["wish"]
    kept = jobs.latest("keep", wish=wish)
    models = queries.reward_models.reward_models(ws.session, "reward")
    values = {
        "job": job,
        "wish": wish,
        "place": jobs.place(job.id),
        "made": [
            [one for one in job.parts if one.column == column]
            for column in range(len(wish.columns))
        ],
        "effects": _effects(job) if wish.is_paired else {},
        "is_simulated": bool(models and models[-1].simulated),
        "kept": kept,
        "commands": wish.commands(),
        "sheet": wish.sheet(),
        "busy": not job.has_ended or (kept is not None and not kept.has_ended),
    }
    template = "tried.html" if "part" in asked.query else "tried_page.html"
    plain = {
        "state": job.state,
        "said": job.said,
        "made": len(job.parts),
        "scores": [one.score for one in job.parts],
    }
    return Page(template, values, plain | {"kept": kept.parts if kept else []})


def picture(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Give one image that was made as a picture; it says that it is synthetic."""
    content = _files(job_of(jobs, asked, "try")).get((asked.place["column"], asked.place["number"]))
    if content is None:
        raise NotFound("There is no such image yet.")
    if not content.startswith(PNG_START):  # a volume
        written = io.BytesIO()
        PillowImage.fromarray(levels_of(montage_of(decode(content)))).save(written, "PNG")
        content = marked(written.getvalue())
    return Response(content, mimetype="image/png")


def effect(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Give the difference of two prompts at one seed: white where a pixel's is the largest."""
    content = _difference(job_of(jobs, asked, "try"), asked.place["number"])
    if content is None:
        raise NotFound("There is no such pair yet.")
    written = io.BytesIO()
    PillowImage.fromarray(content[0]).save(written, "PNG")
    return Response(marked(written.getvalue()), mimetype="image/png")


def _effects(job: QueuedJob) -> dict[int, tuple[float, float]]:
    """Return {number: mean and largest difference of a pair's pixels, as shares of white}."""
    numbers = sorted({one.number for one in job.parts})
    found = {number: _difference(job, number) for number in numbers}
    return {number: one[1:] for number, one in found.items() if one is not None}


def _difference(job: QueuedJob, number: int) -> tuple[NDArray[np.uint8], float, float] | None:
    files = _files(job)
    pair = [files.get((column, number)) for column in (0, 1)]
    if pair[0] is None or pair[1] is None or len(job.asked["wish"].columns) != 2:
        return None
    left, right = (np.atleast_3d(levels_of(montage_of(decode(one)))) for one in pair if one)
    apart = np.abs(right.astype(np.float64) - left)  # grey beside colours is broadcast
    largest = float(apart.max())
    shown = np.rint(apart * (255 / largest if largest else 0)).astype(np.uint8)
    is_grey = shown.shape[2] == 1
    return shown[..., 0] if is_grey else shown, float(apart.mean()) / 255, largest / 255


def archive(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Give all images as a ZIP: 0.png, 1.png ..., of two columns in folders 1 and 2."""
    job = job_of(jobs, asked, "try")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for (column, number), content in sorted(_files(job).items()):
            folder = f"{column + 1}/" if len(job.asked["wish"].columns) > 1 else ""
            suffix = "png" if content.startswith(PNG_START) else "nii.gz"
            packed.writestr(zipfile.ZipInfo(f"{folder}{number}.{suffix}", ZIP_DATE), content)
    headers = {"Content-Disposition": 'attachment; filename="images.zip"'}
    return Response(written.getvalue(), mimetype="application/zip", headers=headers)


def cancel(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """End a try; what was made of it stays to be seen."""
    asked.require_form()
    job = job_of(jobs, asked, "try")
    jobs.cancel(job.id)
    return redirect(f"/try/{job.id}", 303)


def keep(jobs: Jobs, ws: Workspace, asked: Asked) -> Response:
    """Queue making the same images again as rows of the workspace."""
    asked.require_act()
    job = job_of(jobs, asked, "try")
    wish: Wish = job.asked["wish"]
    known = jobs.latest("keep", wish=wish)
    if known is None or known.state in ("failed", "cancelled"):
        jobs.add("keep", wish=wish)
        details = {"kept": wish.count * len(wish.columns), "by": asked.visitor.name}
        queries.audit.record_event(ws.session, "serve", details)
    return redirect(f"/try/{job.id}", 303)


def _known(ws: Workspace, version_id: str) -> None:
    try:
        queries.versions.find_version(ws.session, version_id)
    except StoreError as error:
        raise NotFound("There is no such version here.") from error


def _files(job: QueuedJob) -> dict[tuple[int, int], bytes]:
    return {(one.column, one.number): one.content for one in job.parts}
