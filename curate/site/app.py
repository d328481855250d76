"""The site's routes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jinja2
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate import __version__
from curate.site import atlas, images, selection, studies, tries
from curate.site.accounts import PasswordCheck, read_accounts, welcome
from curate.site.jobs import Jobs
from curate.web import PARTS
from curate.web.pages import COOKIE, FOREVER, Asked, Page, Sessions, Site, View
from curate.workspace import Workspace
from db.engine import Engine, open_session

HERE = Path(__file__).parent
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

PAGES: Mapping[str, Callable[[Workspace, Asked], Page | Response]] = {
    "/": studies.overview,
    "/runs": studies.runs,
    "/images": images.gallery,
    "/images/<uuid:image_id>": images.image_page,
    "/files/<sha256>/thumbnail": images.thumbnail,
    "/files/<sha256>/picture": images.picture,
    "/files/<sha256>/pixels": images.pixels,
    "/rounds": studies.rounds,
    "/rounds/<uuid:round_id>": studies.round_page,
    "/releases": studies.releases,
    "/releases/<release_id>": studies.release_page,
    "/studies": studies.studies,
    "/studies/<name>": studies.study_page,
}

WORKING: Mapping[str, Callable[[Jobs, Workspace, Asked], Page | Response]] = {
    "GET /atlas": atlas.atlas,
    "POST /atlas/searches": atlas.ask,
    "GET /atlas/searches/<job_id>": atlas.result,
    "POST /images/selection": selection.use,
    "GET /images/selection/<job_id>": selection.study,
    "GET /try": tries.form,
    "POST /try": tries.begin,
    "GET /try/<job_id>": tries.tried,
    "GET /try/<job_id>/<int:column>/<int:number>": tries.picture,
    "GET /try/<job_id>/effect/<int:number>": tries.effect,
    "GET /try/<job_id>/images.zip": tries.archive,
    "POST /try/<job_id>/cancel": tries.cancel,
    "POST /try/<job_id>/keep": tries.keep,
}


def site_app(
    ws: Workspace,
    sessions: Sessions,
    jobs: Jobs,
    *,
    hosts: Sequence[str],
    behind_tls: Sequence[str] = (),
) -> Site:
    """Return the site as a WSGI application; what needs torch is put to `jobs`."""
    bind = ws.session.get_bind()
    assert isinstance(bind, Engine)

    def on(view: Callable[[Workspace, Asked], Page | Response]) -> View:
        def answer(asked: Asked) -> Page | Response:
            with open_session(bind) as session:
                here = replace(ws, session=session)
                return view(here, welcome(here, asked))

        return answer

    sign_in = on(partial(PasswordCheck().sign_in, sessions))

    def static(asked: Asked) -> Response:
        """Give a style sheet or a script of the site; they tell nothing of the workspace."""
        name = Path(asked.place["name"]).name
        path = next(filter(Path.is_file, (HERE / "static" / name, PARTS / name)), None)
        if path is None or path.suffix not in KINDS:
            raise NotFound("There is no such file here.")
        headers = {"Cache-Control": FOREVER if asked.query.get("v") == __version__ else "no-cache"}
        return Response(path.read_bytes(), mimetype=KINDS[path.suffix], headers=headers)

    def sign_out(asked: Asked) -> Response:
        asked.require_form()
        sessions.dismiss(asked.request.cookies.get(COOKIE))
        return redirect("/", 303)

    routes = [Rule(path, endpoint=on(view), methods=["GET"]) for path, view in PAGES.items()]
    for path, working in WORKING.items():
        method, _, place = path.partition(" ")
        routes.append(Rule(place, endpoint=on(partial(working, jobs)), methods=[method]))
    routes += [
        Rule("/runs/<run_id>", endpoint=on(studies.order_run), methods=["POST"]),
        Rule("/sign-in", endpoint=sign_in, methods=["POST"]),
        Rule("/sign-out", endpoint=sign_out, methods=["POST"]),
        Rule("/static/<name>", endpoint=static, methods=["GET"]),
    ]
    return Site(
        Map(routes),
        _templates(ws),
        sessions,
        hosts=hosts,
        behind_tls=behind_tls,
        open_to_all=[static, sign_in],
    )


def _templates(ws: Workspace) -> jinja2.Environment:
    """Return the pages, with what all of them say."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", PARTS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(version=__version__, workspace=ws.folder.name)
    # for people: jinja2's own writes an apostrophe as an escape
    pages.filters["as_json"] = partial(json.dumps, indent=2, ensure_ascii=False, default=str)
    pages.globals["has_accounts"] = lambda: bool(read_accounts(ws.folder))
    return pages
