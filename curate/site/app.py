"""The site's routes, and the site on a port."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from curate import __version__
from curate.errors import CurateError
from curate.site import images, studies
from curate.site.config import SiteConfig
from curate.web.pages import COOKIE, FOREVER, Asked, Page, Sessions, Site, View
from curate.web.wsgi import listen, served
from curate.workspace import Workspace
from db.engine import Engine, open_session

HERE = Path(__file__).parent
THREADS = 8
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class RunningSite:
    """A site that answers."""

    url: str
    sign_in: Callable[[], str]  # makes an address that lets one browser in, once


@contextmanager
def site(ws: Workspace, config: SiteConfig) -> Iterator[RunningSite]:
    """Serve a workspace's pages until the block ends.

    Each request reads through a session of its own. Raises CurateError when the port is taken, or
    for an address that others on the network reach.
    """
    if config.host not in LOOPBACK:
        raise CurateError(
            f"The site listens on this machine only, not on {config.host}: put a proxy with TLS "
            "and accounts before it, and name it with `--name`."
        )
    listener = listen(config.host, config.port, "The site")
    port = listener.getsockname()[1]
    sessions = Sessions()
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    app = site_app(ws, sessions, hosts=[*hosts, *config.names])
    with served(app, listener, threads=THREADS, max_header=16_384, max_body=65_536):
        url = f"http://{'[::1]' if config.host == '::1' else config.host}:{port}"
        yield RunningSite(url, lambda: f"{url}/?token={sessions.invite('owner', may_act=True)}")


def site_app(ws: Workspace, sessions: Sessions, *, hosts: list[str]) -> Site:
    """Return the site as a WSGI application."""
    bind = ws.session.get_bind()
    assert isinstance(bind, Engine)

    def on(view: Callable[[Workspace, Asked], Page | Response]) -> View:
        def answer(asked: Asked) -> Page | Response:
            with open_session(bind) as session:
                return view(replace(ws, session=session), asked)

        return answer

    def sign_out(asked: Asked) -> Response:
        asked.require_form()
        sessions.dismiss(asked.request.cookies.get(COOKIE))
        return redirect("/", 303)

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
    return Site(routes, templates(ws), sessions, hosts=hosts, open_to_all=[static])


def static(asked: Asked) -> Response:
    """Give a style sheet or a script of the site; they tell nothing of the workspace."""
    path = HERE / "static" / Path(asked.place["name"]).name
    if path.suffix not in KINDS or not path.is_file():
        raise NotFound("There is no such file here.")
    headers = {"Cache-Control": FOREVER if asked.query.get("v") == __version__ else "no-cache"}
    return Response(path.read_bytes(), mimetype=KINDS[path.suffix], headers=headers)


def templates(ws: Workspace) -> jinja2.Environment:
    """Return the environment that the pages are made in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(version=__version__, workspace=ws.folder.name)
    return environment
