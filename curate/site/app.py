"""The site's routes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jinja2
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate import __version__
from curate.site import images, studies
from curate.web.pages import COOKIE, FOREVER, Asked, Page, Sessions, Site, View
from curate.workspace import Workspace
from db.engine import Engine, open_session

HERE = Path(__file__).parent
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def site_app(ws: Workspace, sessions: Sessions, *, hosts: list[str]) -> Site:
    """Return the site as a WSGI application."""
    bind = ws.session.get_bind()
    assert isinstance(bind, Engine)

    def on(view: Callable[[Workspace, Asked], Page | Response]) -> View:
        def answer(asked: Asked) -> Page | Response:
            with open_session(bind) as session:
                return view(replace(ws, session=session), asked)

        return answer

    def static(asked: Asked) -> Response:
        """Give a style sheet or a script of the site; they tell nothing of the workspace."""
        path = HERE / "static" / Path(asked.place["name"]).name
        if path.suffix not in KINDS or not path.is_file():
            raise NotFound("There is no such file here.")
        headers = {"Cache-Control": FOREVER if asked.query.get("v") == __version__ else "no-cache"}
        return Response(path.read_bytes(), mimetype=KINDS[path.suffix], headers=headers)

    def sign_out(asked: Asked) -> Response:
        asked.require_form()
        sessions.dismiss(asked.request.cookies.get(COOKIE))
        return redirect("/", 303)

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals.update(version=__version__, workspace=ws.folder.name)
    routes = Map(
        [
            Rule("/", endpoint=on(studies.overview), methods=["GET"]),
            Rule("/runs", endpoint=on(studies.runs), methods=["GET"]),
            Rule("/runs/<run_id>", endpoint=on(studies.order_run), methods=["POST"]),
            Rule("/images", endpoint=on(images.gallery), methods=["GET"]),
            Rule("/images/<uuid:image_id>", endpoint=on(images.image_page), methods=["GET"]),
            Rule("/files/<sha256>/thumbnail", endpoint=on(images.thumbnail), methods=["GET"]),
            Rule("/files/<sha256>/picture", endpoint=on(images.picture), methods=["GET"]),
            Rule("/files/<sha256>/pixels", endpoint=on(images.pixels), methods=["GET"]),
            Rule("/rounds", endpoint=on(studies.rounds), methods=["GET"]),
            Rule("/rounds/<uuid:round_id>", endpoint=on(studies.round_page), methods=["GET"]),
            Rule("/releases", endpoint=on(studies.releases), methods=["GET"]),
            Rule("/releases/<release_id>", endpoint=on(studies.release_page), methods=["GET"]),
            Rule("/studies", endpoint=on(studies.studies), methods=["GET"]),
            Rule("/studies/<name>", endpoint=on(studies.study_page), methods=["GET"]),
            Rule("/sign-out", endpoint=sign_out, methods=["POST"]),
            Rule("/static/<name>", endpoint=static, methods=["GET"]),
        ]
    )
    return Site(routes, pages, sessions, hosts=hosts, open_to_all=[static])
