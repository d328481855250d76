"""The door before Label Studio: raters reach their own label stream and nothing else.

Label Studio's Community edition has no roles, and some of its calls ask for no organisation either
(docs/rating.md lists them). So raters' browsers reach this application, and Label Studio itself
listens on loopback behind it. What may pass is in gateway_rules.py; whose it is, Label Studio
itself says: every number in a request is first looked up with the rater's own login.
"""

import html
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import httpx

from annotation.label_studio.gateway_rules import Call, Refused, call_for

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TIMEOUT_S = 60.0
MAX_BODY = 1_048_576  # bytes; an answer has some hundreds
COOKIES = ("sessionid", "csrftoken")
PLAIN = re.compile(r"[A-Za-z0-9:._=-]{1,4096}")  # such a cookie's value
# Of the request only these go on: no Authorization, no X-Api-Key, no method override, no origin
PASSED_ON = {
    "HTTP_ACCEPT": "Accept",
    "HTTP_ACCEPT_LANGUAGE": "Accept-Language",
    "HTTP_IF_NONE_MATCH": "If-None-Match",
    "HTTP_IF_MODIFIED_SINCE": "If-Modified-Since",
    "HTTP_USER_AGENT": "User-Agent",
    "HTTP_X_CSRFTOKEN": "X-CSRFToken",
}
PASSED_BACK = ("Content-Type", "Cache-Control", "ETag", "Expires", "Last-Modified", "Vary")
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
NO_TASKS = b'{"total_annotations": 0, "total_predictions": 0, "total": 0, "tasks": []}'
Headers = list[tuple[str, str]]
NO_STORE = ("Cache-Control", "no-store")
# what we add to each page; where Label Studio has nothing
OURS = {"/page.js": "text/javascript; charset=utf-8", "/page.css": "text/css; charset=utf-8"}
OUR_HEAD = b'<head><script src="/page.js"></script><link rel="stylesheet" href="/page.css">'
PLACE = "/practice/"  # where our own pages are; Label Studio has nothing there
ANSWERED = ("total_annotations_number", "skipped_annotations_number")
TITLES_HASH = re.compile(r" \([0-9a-f]{12}\)$")  # of a project's title, for us alone
FRONT_STYLE = (
    "body { background: #000; color: #d0d0d0; font: 18px sans-serif; margin: 3em } "
    "a { color: #8ab4f8 } li { margin: .4em 0 } span { color: #909090; margin-left: 1em }"
)


@dataclass(frozen=True)
class Reply:
    """What the browser gets."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)


@dataclass(frozen=True)
class Reading:
    """One line of a rater's front page: what there is to do, where, and how far it is."""

    title: str
    link: str
    said: str


class OwnPages(Protocol):
    """Pages of curate's own at the door, below `PLACE`, for a rater who is logged in."""

    def readings(self, email: str) -> Sequence[Reading]:
        """Return what this rater is to do there, for the front page."""
        ...

    def reply(self, email: str, method: str, path: str, form: Mapping[str, str]) -> Reply:
        """Answer a request; a POST has come from a page of this door."""
        ...


def gateway_app(
    upstream: str,
    *,
    address: str = "",
    transport: httpx.BaseTransport | None = None,
    ours: OwnPages | None = None,
) -> "WSGIApplication":
    """Return the application before the Label Studio at `upstream`. It keeps no log.

    `address` is where browsers reach it, when a proxy before it calls it by another name; with
    https:// there, browsers are told to send its cookies by https only. `ours` are pages beside it.
    """
    client = httpx.Client(
        base_url=upstream,
        timeout=TIMEOUT_S,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
        transport=transport,
    )
    gateway = _Gateway(client, urlsplit(address), ours)

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        try:
            reply = gateway.reply(environ)
        except httpx.HTTPError:
            reply = _said(
                HTTPStatus.BAD_GATEWAY, "The rating page is not up. Try again in a minute."
            )
        length = ("Content-Length", str(len(reply.body)))
        start(f"{reply.status.value} {reply.status.phrase}", [*reply.headers, length, *ALWAYS])
        return [reply.body]

    return answer


class _Gateway:
    """One Label Studio, asked with raters' own logins."""

    def __init__(
        self, client: httpx.Client, address: SplitResult, ours: OwnPages | None = None
    ) -> None:
        self._client, self._ours = client, ours
        self._name = address.netloc
        self._is_secure = address.scheme == "https"
        self._looked_up = lru_cache(maxsize=10_000)(self._look_up)

    def reply(self, environ: "WSGIEnvironment") -> Reply:
        """Answer a browser's request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if method != "GET" and environ.get("HTTP_ORIGIN"):
            try:  # a script that sends something is of this page, as its browser says
                origin = urlsplit(environ["HTTP_ORIGIN"]).netloc
            except ValueError:
                origin = ""
            if origin not in (environ.get("HTTP_HOST") or "nowhere", self._name or None):
                text = "Another page's script may not send anything here."
                return _said(HTTPStatus.FORBIDDEN, text)
        cookies = _cookies(environ)
        if method == "GET" and path in ("", "/", "/projects", "/projects/"):
            return self._readings(cookies)
        if self._ours is not None and path.startswith(PLACE):
            return self._own(self._ours, environ, cookies)
        if method == "GET" and path in OURS:
            content = resources.files("annotation.label_studio").joinpath(path[1:]).read_bytes()
            return Reply(HTTPStatus.OK, content, (("Content-Type", OURS[path]), NO_STORE))
        if method == "GET" and path.rstrip("/") == "/api/tasks":
            # the page asks for a list of all images before it shows the first: it needs none
            return Reply(HTTPStatus.OK, NO_TASKS, (("Content-Type", JSON),))
        if method in ("POST", "PATCH") and path.startswith("/api/dm/views"):
            # and keeps how that list is to look, which nobody sees here
            return Reply(HTTPStatus.OK, b'{"id": 1, "data": {}}', (("Content-Type", JSON),))
        try:
            call = call_for(method, path, environ.get("QUERY_STRING", ""))
        except Refused:
            return _said(HTTPStatus.FORBIDDEN, "Raters reach the rating page only.")
        if call.path.startswith("/projects/") and not call.query:
            return _moved(f"{call.path}?labeling=1")
        if not all(self._owns(cookies, kind, number) for kind, number in call.owned):
            return self._not_theirs(call, cookies)
        return self._passed(call, environ, cookies)

    def _own(self, ours: OwnPages, environ: "WSGIEnvironment", cookies: str) -> Reply:
        """Answer by a page of our own: Label Studio says who asks, and sees nothing of it."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        me = self._known(cookies, "me", 0)
        if me is None or not me.get("email"):
            return _login(path)
        form: dict[str, str] = {}
        if method == "POST":
            if not environ.get("HTTP_ORIGIN"):  # of another page it was refused already
                return _said(HTTPStatus.FORBIDDEN, "Only this page may send that.")
            try:
                length = int(environ.get("CONTENT_LENGTH") or 0)
                given = environ["wsgi.input"].read(length if 0 <= length <= MAX_BODY else 0)
                form = dict(parse_qsl(given.decode(), keep_blank_values=True, max_num_fields=20))
            except ValueError:
                return _said(HTTPStatus.BAD_REQUEST, "This is no answer of this page.")
        return ours.reply(str(me["email"]), method, path, form)

    def _passed(self, call: Call, environ: "WSGIEnvironment", cookies: str) -> Reply:
        headers = {name: environ[key] for key, name in PASSED_ON.items() if environ.get(key)}
        content = b""
        if call.body is not None:
            try:
                fields = _fields(call, call.body, environ)
            except (ValueError, RecursionError):
                return _said(HTTPStatus.BAD_REQUEST, "This is no answer of the rating page.")
            draft = fields.get("draft_id")  # Label Studio deletes the one that is named here
            if draft and not (type(draft) is int and self._owns(cookies, "draft", draft)):
                return self._not_theirs(call, cookies)
            headers["Content-Type"] = FORM if call.is_form else JSON
            content = (urlencode(fields) if call.is_form else json.dumps(fields)).encode()
        answer = self._ask(call.method, call.target, cookies, headers, content)
        return _back(answer, is_secure=self._is_secure)

    def _ask(
        self,
        method: str,
        target: str,
        cookies: str,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx.Response:
        sent = {"Accept-Encoding": "identity", "Cookie": cookies, **(headers or {})}
        return self._client.request(method, target, headers=sent, content=content)

    def _owns(self, cookies: str, kind: str, number: int) -> bool:
        """Return whether it is the rater's: in their organisation, and made by them if made."""
        found = self._known(cookies, kind, number)
        if found is None or kind in ("project", "task"):
            return found is not None
        me = self._known(cookies, "me", 0) or {}
        author = found.get("completed_by" if kind == "annotation" else "user")
        author = author.get("id") if isinstance(author, dict) else author
        task = found.get("task")
        is_mine = author is not None and author in (me.get("id"), me.get("email"))
        return is_mine and isinstance(task, int) and self._owns(cookies, "task", task)

    def _known(self, cookies: str, kind: str, number: int) -> dict[str, Any] | None:
        """Look it up, at most once a minute."""
        if not cookies:
            return None
        return self._looked_up(cookies, kind, number, int(time.monotonic() // 60))

    def _look_up(self, cookies: str, kind: str, number: int, minute: int) -> dict[str, Any] | None:
        # of all calls by number, Label Studio asks for the organisation in the first two
        path = {
            "project": f"/api/projects/{number}/",
            "task": f"/api/tasks/{number}/",
            "annotation": f"/api/annotations/{number}/",
            "draft": f"/api/drafts/{number}/",
            "me": "/api/current-user/whoami",
        }[kind]
        answer = self._ask("GET", path, cookies)
        if answer.status_code != 200:
            return None
        found = _object(answer)
        return {key: found.get(key) for key in ("id", "email", "task", "user", "completed_by")}

    def _not_theirs(self, call: Call, cookies: str) -> Reply:
        if call.path.startswith("/projects/") and self._known(cookies, "me", 0) is None:
            return _login(call.target)
        return _said(HTTPStatus.NOT_FOUND, "There is nothing of yours here.")

    def _readings(self, cookies: str) -> Reply:
        """Return the rater's own front page: what there is to read, and how far it is."""
        answer = self._ask("GET", "/api/projects/?page_size=100", cookies)
        if answer.status_code != 200:
            return _login("")
        rows, num_done = "", 0
        me = self._known(cookies, "me", 0) or {}
        for one in self._ours.readings(str(me.get("email", ""))) if self._ours else ():
            title, said = html.escape(one.title), html.escape(one.said)
            rows += f'<li><a href="{html.escape(one.link)}">{title}</a> <span>{said}</span></li>'
        for project in _object(answer).get("results", ()):
            total = int(project.get("task_number") or 0)
            done = sum(int(project.get(name) or 0) for name in ANSWERED)
            if total and done >= total:
                num_done += 1
                continue
            title = html.escape(TITLES_HASH.sub("", str(project["title"])))
            link = f"/projects/{int(project['id'])}/data?labeling=1"
            rows += f'<li><a href="{link}">{title}</a> <span>{done} of {total} read</span></li>'
        ended = f"<p>{num_done} finished.</p>" if num_done else ""
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>To read</title>'
            f"<style>{FRONT_STYLE}</style><h1>To read</h1>"
            f"<ul>{rows or '<li>Nothing at the moment.</li>'}</ul>{ended}"
            '<p><a href="/logout">Log out</a></p></html>'
        )
        kind = ("Content-Type", "text/html; charset=utf-8")
        return Reply(HTTPStatus.OK, page.encode(), (kind, NO_STORE))


def _cookies(environ: "WSGIEnvironment") -> str:
    """Return the two cookies that Label Studio set, as they go on."""
    try:
        jar = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    except CookieError:
        return ""
    found = ((name, jar[name].value) for name in COOKIES if name in jar)
    return "; ".join(f"{name}={value}" for name, value in found if PLAIN.fullmatch(value))


def _fields(call: Call, known: frozenset[str], environ: "WSGIEnvironment") -> dict[str, Any]:
    """Read the known fields of a form or a JSON object; ValueError when it is neither."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not 0 <= length <= MAX_BODY:
        raise ValueError("too long")
    given = environ["wsgi.input"].read(length)
    if not known:
        return {}
    if call.is_form:
        found: Any = dict(parse_qsl(given.decode(), keep_blank_values=True, max_num_fields=20))
    else:
        found = json.loads(given)
        json.dumps(found, allow_nan=False)  # NaN and infinity are no JSON
    if not isinstance(found, dict):
        raise ValueError("no object")
    return {name: value for name, value in found.items() if name in known}


def _back(answer: httpx.Response, *, is_secure: bool) -> Reply:
    """Return the answer as the browser gets it: no words of a server in trouble, no other place.

    A page gets what we add to it, and so is another one than its ETag says.
    """
    if answer.status_code >= 500:
        return _said(HTTPStatus.BAD_GATEWAY, "The rating page is in trouble. Try again.")
    headers: Headers = [(k, answer.headers[k]) for k in PASSED_BACK if k in answer.headers]
    content = answer.content
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        headers = [(name, value) for name, value in headers if name != "ETag"]
        content = content.replace(b"<head>", OUR_HEAD, 1)
    only = "; Secure" if is_secure else ""
    headers += [("Set-Cookie", value + only) for value in answer.headers.get_list("Set-Cookie")]
    if "Location" in answer.headers:
        place = urlsplit(answer.headers["Location"])
        target = place.path + (f"?{place.query}" if place.query else "")
        headers.append(("Location", "/" + target.lstrip("/\\")))
    return Reply(HTTPStatus(answer.status_code), content, tuple(headers))


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(status: HTTPStatus, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode())


def _moved(target: str) -> Reply:
    return Reply(HTTPStatus.FOUND, headers=(("Location", target),))


def _login(target: str) -> Reply:
    return _moved("/user/login/" + (f"?next={quote(target)}" if target else ""))
