"""The application without a socket: what it gives, and all that it refuses."""

from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest

from curate.image_service.app import image_app
from curate.image_service.signing import Shown, signed_path

KEY = bytes(range(32))
SHOWN = Shown(UUID("3f6d6a34-4c0e-4b4b-9c51-0a2f6f0e6a11"), "left")
NOW = 1_800_000_000
PAGE = "http://127.0.0.1:8090"
GOOD = signed_path(KEY, SHOWN, NOW + 60)


def ask(
    address: str, *, method: str = "GET", origin: str = "", origins: tuple[str, ...] = (PAGE,)
) -> tuple[int, dict[str, str], bytes]:
    def pictures(shown: Shown) -> bytes | None:
        return b"picture" if shown == SHOWN else None

    started: list[Any] = []
    path, _, query = address.partition("?")
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"HTTP_ORIGIN": origin} if origin else {}
    app = image_app(pictures, KEY, origins=origins, now=lambda: NOW)
    body = b"".join(
        app({**environ, "wsgi.input": BytesIO()}, lambda *answer: started.append(answer))  # type: ignore[arg-type]
    )
    status, headers = started[0]
    return int(status.split()[0]), dict(headers), body


def test_a_signed_address_gives_its_picture() -> None:
    status, headers, body = ask(GOOD)
    assert (status, headers["Content-Type"], body) == (200, "image/png", b"picture")
    assert headers["Content-Length"] == "7"
    assert headers["Cache-Control"] == "no-store, no-transform"


def test_head_gives_the_same_headers_and_no_body() -> None:
    assert ask(GOOD, method="HEAD") == (200, ask(GOOD)[1], b"")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (GOOD.partition("?")[0], 403),  # unsigned
        (signed_path(bytes(32), SHOWN, NOW + 60), 403),  # signed by somebody else
        (GOOD.replace(f"{NOW + 60}", f"{NOW + 61}"), 403),  # lived on
        (signed_path(KEY, SHOWN, NOW - 1), 410),  # expired
        (signed_path(bytes(32), SHOWN, NOW - 1), 403),  # expired and foreign: says no more
        (signed_path(KEY, Shown(uuid4(), "left"), NOW + 60), 404),  # signed, but gone
        ("/images/../image-service.key", 403),
        ("/images/%2e%2e/image-service.key", 403),
        ("/", 403),
        ("", 403),
        ("/images/", 403),  # no listing
        ("/images", 403),
    ],
)
def test_everything_else_is_refused(address: str, status: int) -> None:
    found, _, body = ask(address)
    assert found == status
    assert b"picture\n" not in body and b"key" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_nothing_can_be_written(method: str) -> None:
    assert ask(GOOD, method=method)[0] == 405


def test_refusals_are_all_alike() -> None:
    """Else a stranger could learn which assignments there are."""
    unknown = signed_path(bytes(32), Shown(uuid4(), "left"), NOW + 60)
    known = signed_path(bytes(32), SHOWN, NOW + 60)
    assert ask(unknown) == ask(known) == ask("/anything")


def test_only_the_rating_page_may_read_a_picture() -> None:
    assert ask(GOOD, origin=PAGE)[1]["Access-Control-Allow-Origin"] == PAGE
    for other in ("http://evil.example", "http://127.0.0.1:8091", "null", ""):
        headers = ask(GOOD, origin=other)[1]
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Vary"] == "Origin"
    assert ask(GOOD, origin="null", origins=("*",))[1]["Access-Control-Allow-Origin"] == "*"


def test_a_browsers_preflight_is_answered() -> None:
    status, headers, body = ask(GOOD, method="OPTIONS", origin=PAGE)
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Methods"] == "GET, HEAD"


def test_the_service_says_that_it_is_up() -> None:
    assert ask("/health")[0] == 200
