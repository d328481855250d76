"""What a site of pages is made of: who may come in, what every answer carries, forms, errors.

Pages are rendered here and hold no script of their own: the content security policy lets nothing
run or load that this site does not serve itself, so it works in a hospital without a network.
"""

import io
import json
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import jinja2
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, InternalServerError
from werkzeug.routing import Map
from werkzeug.wrappers import Request, Response

from curate.errors import USER_ERRORS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COOKIE = "curate_site"  # of its own: cookies do not tell ports apart
SIGNED_IN_S = 12 * 3600.0
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none, browsers hide a form's origin too
    "X-Content-Type-Options": "nosniff",
}
FOREVER = "private, max-age=31536000, immutable"  # what its address names by hash


class _Request(Request):
    """A request whose files stay in memory: an image that is asked about is not stored."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return io.BytesIO()


@dataclass(frozen=True)
class Visitor:
    """Somebody who has signed in."""

    name: str
    may_act: bool  # else looks only
    csrf: str  # stands in every form of theirs
    until: float  # seconds, by the sessions' clock
    has_account: bool = False  # came by a password; else by an address that was printed


@dataclass
class Sessions:
    """Who is in, in memory: when the site stops, all are out."""

    now: Callable[[], float] = time.time
    _invitations: dict[str, Visitor] = field(default_factory=dict)
    _visitors: dict[str, Visitor] = field(default_factory=dict)

    def invite(self, name: str, *, may_act: bool) -> str:
        """Return a token that lets one browser in, once."""
        token = secrets.token_urlsafe(32)
        until = self.now() + SIGNED_IN_S
        self._invitations[token] = Visitor(name, may_act, secrets.token_urlsafe(32), until)
        return token

    def admit(self, token: str) -> str | None:
        """Spend a token: return the cookie's value, or None for one that is spent or made up."""
        visitor = self._invitations.pop(token, None)
        return None if visitor is None else self._begun(visitor)

    def enter(self, name: str, *, may_act: bool) -> str:
        """Sign in whose password was right: return the cookie's value."""
        until = self.now() + SIGNED_IN_S
        return self._begun(Visitor(name, may_act, secrets.token_urlsafe(32), until, True))

    def _begun(self, visitor: Visitor) -> str:
        cookie = secrets.token_urlsafe(32)
        self._visitors[cookie] = visitor
        return cookie

    def visitor(self, cookie: str | None) -> Visitor | None:
        """Return who a cookie is, while it holds."""
        visitor = self._visitors.get(cookie or "")
        if visitor is not None and visitor.until < self.now():
            self.dismiss(cookie)
            return None
        return visitor

    def dismiss(self, cookie: str | None) -> None:
        """Sign out."""
        self._visitors.pop(cookie or "", None)


@dataclass(frozen=True)
class Page:
    """What a view shows: a template with its values, and the same as plain values for `.json`."""

    template: str
    values: Mapping[str, Any]
    plain: Any = None
    status: int = 200


@dataclass(frozen=True)
class Asked:
    """A request that was let in."""

    request: Request
    visitor: Visitor
    place: Mapping[str, Any]  # what the route's pattern found in the path

    @property
    def query(self) -> Mapping[str, str]:
        """Return the address's parameters; of one that comes twice the first."""
        return {name: value for name, value in self.request.args.items() if value}

    def require_act(self) -> None:
        """Refuse a visitor who may only look, and a form that is not of a page of theirs."""
        if not self.visitor.may_act:
            raise Forbidden("Your account may look, not act.")
        self.require_form()

    def require_form(self) -> None:
        """Refuse a form that is not from a page of this visitor's."""
        said = self.request.form.get("csrf", "")
        if not secrets.compare_digest(said.encode(), self.visitor.csrf.encode()):
            raise Forbidden("This form is not from this page as it is now. Load the page again.")


View = Callable[[Asked], Page | Response]


class Site:
    """A WSGI application: a map of routes to views, behind a sign-in.

    A route's endpoint is its view; "static" in its place serves without sign-in. `hosts` are the
    names that a browser may call the site by (a page elsewhere that points its own name here, DNS
    rebinding, is refused), `behind_tls` those of a proxy that speaks TLS with browsers not with us.
    """

    def __init__(
        self,
        routes: Map,
        templates: jinja2.Environment,
        sessions: Sessions,
        *,
        hosts: Iterable[str],
        open_to_all: Iterable[View] = (),
        behind_tls: Iterable[str] = (),
    ) -> None:
        self._routes, self._templates, self._sessions = routes, templates, sessions
        self._behind_tls = frozenset(behind_tls)
        self._hosts = frozenset(hosts) | self._behind_tls
        self._open_to_all = frozenset(open_to_all)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        request = _Request(environ)
        environ["curate.behind_tls"] = request.host in self._behind_tls
        visitor: Visitor | None = None
        try:
            self._check_sender(request)
            visitor = self._sessions.visitor(request.cookies.get(COOKIE))
            answer = self._answer(request, visitor)
        except HTTPException as error:
            answer = self._refused(error, request, visitor)
        except USER_ERRORS as error:
            answer = self._refused(BadRequest(str(error)), request, visitor)
        except Exception:  # a bug: told to whoever runs the site, never to the browser
            traceback.print_exc(file=sys.stderr)
            answer = self._refused(InternalServerError(), request, visitor)
        for name, value in ALWAYS.items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer(environ, start)

    def _check_sender(self, request: Request) -> None:
        """Hold the Host header to the list, and what changes something to pages of this site."""
        if request.host not in self._hosts:
            raise BadRequest("This site does not answer to that name.")
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("Origin")
            scheme = "https" if request.environ["curate.behind_tls"] else "http"
            if origin != f"{scheme}://{request.host}":
                raise Forbidden("Only pages of this site may send that.")

    def _answer(self, request: Request, visitor: Visitor | None) -> Response:
        if (token := request.args.get("token")) is not None:
            return self._by_token(request, token)
        wants_json = request.path.endswith(".json")
        path = request.path.removesuffix(".json") or "/"
        adapter = self._routes.bind(request.host, url_scheme=request.scheme)
        view, place = adapter.match(path, method=request.method)
        someone = visitor or (Visitor("", False, "", 0.0) if view in self._open_to_all else None)
        if someone is None:
            return self._rendered(Page("signed_out.html", {}, status=401), request, None)
        shown = view(Asked(request, someone, place))
        if isinstance(shown, Response):
            return shown
        if wants_json:
            return Response(_as_json(shown.plain), shown.status, mimetype="application/json")
        return self._rendered(shown, request, visitor)

    def _by_token(self, request: Request, token: str) -> Response:
        """Exchange the token for a cookie, and take it out of the address bar."""
        cookie = self._sessions.admit(token)
        if cookie is None:
            return self._rendered(
                Page("signed_out.html", {"spent": True}, status=401), request, None
            )
        return signed_in(request, cookie, to=request.path)

    def _rendered(self, page: Page, request: Request, visitor: Visitor | None) -> Response:
        usual = {"visitor": visitor, "path": request.path, "spent": False, "wrong": False}
        values = {**usual, **page.values}
        html = self._templates.get_template(page.template).render(values)
        return Response(html, page.status, mimetype="text/html")

    def _refused(self, error: HTTPException, request: Request, visitor: Visitor | None) -> Response:
        if error.response is not None:  # a redirect of the routing
            return Response(status=308, headers=dict(error.get_response().headers))
        status, said = error.code or 500, error.description or ""
        if request.path.endswith(".json"):
            return Response(_as_json({"error": said}), status, mimetype="application/json")
        page = Page(
            "refused.html", {"status": status, "name": error.name, "said": said}, None, status
        )
        return self._rendered(page, request, visitor)


def signed_in(request: Request, cookie: str, *, to: str) -> Response:
    """Send a browser on with the cookie that it is known by from now on."""
    answer = Response(status=303, headers={"Location": to})
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=round(SIGNED_IN_S),
        httponly=True,
        samesite="Strict",
        secure=request.environ["curate.behind_tls"],
    )
    return answer


def _as_json(plain: Any) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False, default=str)
