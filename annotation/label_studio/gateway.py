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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
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


@dataclass(frozen=True)
class Reply:
    """What the browser gets."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)


def gateway_app(
    upstream: str, *, address: str = "", transport: httpx.BaseTransport | None = None
) -> "WSGIApplication":
    """Return the application before the Label Studio at `upstream`. It keeps no log.

    `address` is where browsers reach it, when a proxy before it calls it by another name; with
    https:// there, browsers are told to send its cookies by https only.
    """
    client = httpx.Client(
        base_url=upstream,
        timeout=TIMEOUT_S,
        trust_env=False,
        limits=httpx.Limits(max_keepalive_connections=0),
        transport=transport,
    )
    gateway = _Gateway(client, urlsplit(address))

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

    def __init__(self, client: httpx.Client, address: SplitResult) -> None:
        self._client = client
        self._name = address.netloc
        self._is_secure = address.scheme == "https"
        self._looked_up = lru_cache(maxsize=10_000)(self._look_up)

    def reply(self, environ: "WSGIEnvironment") -> Reply:
        """Answer a browser's request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        cookies = _cookies(environ)
        if not _is_from_here(environ, self._name):
            return _said(HTTPStatus.FORBIDDEN, "Another page's script may not send anything here.")
        if method == "GET" and path in ("", "/", "/projects", "/projects/"):
            return self._readings(cookies)
        if method == "GET" and path.rstrip("/") == "/api/tasks":
            # the page asks for a list of all images before it shows the first: it needs none
            return Reply(HTTPStatus.OK, NO_TASKS, (("Content-Type", JSON),))
        try:
            call = call_for(method, path, environ.get("QUERY_STRING", ""))
        except Refused:
            return _said(HTTPStatus.FORBIDDEN, "Raters reach the rating page only.")
        if call.path.startswith("/projects/") and not call.query:
            return _moved(f"{call.path}?labeling=1")
        if not all(self._owns(cookies, kind, number) for kind, number in call.owned):
            return self._not_theirs(call, cookies)
        return self._passed(call, environ, cookies)

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
        """Return the rater's own front page: what there is to read."""
        answer = self._ask("GET", "/api/projects/?page_size=100", cookies)
        if answer.status_code != 200:
            return _login("")
        rows = "".join(
            f'<li><a href="/projects/{int(project["id"])}/data?labeling=1">'
            f"{html.escape(str(project['title']))}</a></li>"
            for project in _object(answer).get("results", ())
        )
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>To read</title>'
            '<body style="font: 18px sans-serif; margin: 3em"><h1>To read</h1>'
            f"<ul>{rows or '<li>Nothing at the moment.</li>'}</ul>"
            '<p><a href="/logout">Log out</a></p></body></html>'
        )
        kind = ("Content-Type", "text/html; charset=utf-8")
        return Reply(HTTPStatus.OK, page.encode(), (kind, ("Cache-Control", "no-store")))


def _cookies(environ: "WSGIEnvironment") -> str:
    """Return the two cookies that Label Studio set, as they go on."""
    try:
        jar = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    except CookieError:
        return ""
    found = ((name, jar[name].value) for name in COOKIES if name in jar)
    return "; ".join(f"{name}={value}" for name, value in found if PLAIN.fullmatch(value))


def _is_from_here(environ: "WSGIEnvironment", name: str) -> bool:
    """Return whether a script that sends something is of this page, as its browser says."""
    origin = environ.get("HTTP_ORIGIN")
    if environ["REQUEST_METHOD"] == "GET" or not origin:
        return True
    try:
        return urlsplit(origin).netloc in (environ.get("HTTP_HOST"), name or None)
    except ValueError:
        return False


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
        found = json.loads(given, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return {name: value for name, value in found.items() if name in known}


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _back(answer: httpx.Response, *, is_secure: bool) -> Reply:
    """Return the answer as the browser gets it: no words of a server in trouble, no other place."""
    if answer.status_code >= 500:
        return _said(HTTPStatus.BAD_GATEWAY, "The rating page is in trouble. Try again.")
    headers: Headers = [(k, answer.headers[k]) for k in PASSED_BACK if k in answer.headers]
    only = "; Secure" if is_secure else ""
    headers += [("Set-Cookie", value + only) for value in answer.headers.get_list("Set-Cookie")]
    if "Location" in answer.headers:
        place = urlsplit(answer.headers["Location"])
        target = place.path + (f"?{place.query}" if place.query else "")
        headers.append(("Location", "/" + target.lstrip("/\\")))
    return Reply(HTTPStatus(answer.status_code), answer.content, tuple(headers))


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
