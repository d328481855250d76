"""The service itself, as a WSGI application: a signed address gives one picture, all else nothing.

It lists nothing, sets no cookie, writes no log (an address is a secret) and answers every request
that it refuses alike.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING
from uuid import UUID

from curate.image_service.picture import StudyPictures
from curate.image_service.signing import Shown, read_address
from db import queries
from db.engine import Engine, open_session
from db.store import FileStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEALTH = "/health"
# On every answer. no-transform: a proxy that compresses would make length tell again.
ALWAYS = (
    ("Cache-Control", "no-store, no-transform"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
Pictures = Callable[[Shown], bytes | None]


def image_app(
    pictures: Pictures,
    key: bytes,
    *,
    origins: Sequence[str] = (),
    now: Callable[[], float] = time,
) -> "WSGIApplication":
    """Return the application; `pictures` gives a PNG, or None when there is nothing to show.

    `origins` are the rating pages that may fetch pictures, "*" for any. 403: no signature of ours;
    410: signed, but expired; 404: signed, but gone; 405: neither GET nor HEAD.
    """

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        status, kind, body = _answer(environ, pictures, key, now)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *ALWAYS]
        headers.append(("Vary", "Origin"))
        origin = environ.get("HTTP_ORIGIN", "")
        if origin and ("*" in origins or origin in origins):  # its script may read the picture
            headers += [
                ("Access-Control-Allow-Origin", "*" if "*" in origins else origin),
                ("Access-Control-Allow-Methods", "GET, HEAD"),
                ("Access-Control-Max-Age", "600"),
            ]
        start(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return answer


def pictures_of(engine: Engine, store: FileStore) -> Pictures:
    """Return what opens pictures: a session a call, so that threads may call at once."""

    @lru_cache(maxsize=64)  # a campaign never grows
    def study_of(campaign_id: UUID) -> StudyPictures:
        with open_session(engine) as session:
            return StudyPictures(queries.campaigns.shown_images(session, campaign_id))

    def picture(shown: Shown) -> bytes | None:
        with open_session(engine) as session:
            found = queries.campaigns.shown_image(session, shown.assignment_id, shown.name)
        if found is None:
            return None
        return study_of(found.campaign_id).png(store.get(found.file_sha256), found)

    return picture


def _answer(
    environ: "WSGIEnvironment", pictures: Pictures, key: bytes, now: Callable[[], float]
) -> tuple[HTTPStatus, str, bytes]:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
    if method == "OPTIONS":
        return HTTPStatus.NO_CONTENT, "text/plain", b""
    if method not in ("GET", "HEAD"):
        return _said(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.")
    if path == HEALTH:
        return _said(HTTPStatus.OK, "curate image service")
    address = read_address(path, environ.get("QUERY_STRING", ""))
    if address is None or not address.is_signed_with(key):
        return _said(HTTPStatus.FORBIDDEN, "Only addresses that curate has signed.")
    if now() > address.until:
        return _said(HTTPStatus.GONE, "This address has expired: push the campaign again.")
    picture = pictures(address.shown)
    if picture is None:
        return _said(HTTPStatus.NOT_FOUND, "This picture is no longer there.")
    return HTTPStatus.OK, "image/png", picture


def _said(status: HTTPStatus, text: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()
