"""A service against clients that hold connections, drip bytes or speak with two tongues."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from curate.web import wsgi
from tests.broken_http import exchange

HONEST_S = 2.0  # within which an honest client is to have its answer
GOOD = b"POST / HTTP/1.1\r\nHost: x\r\n"


def echo(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def url() -> Iterator[str]:
    listener = wsgi.listen("127.0.0.1", 0, "It")
    with wsgi.served(echo, listener, threads=2):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30)


def is_answered(url: str) -> bool:
    return httpx.post(url, content=b"honest", timeout=HONEST_S, trust_env=False).text == "honest"


@pytest.mark.parametrize("sent", [b"", GOOD, GOOD + b"Content-Length: 100\r\n\r\nx"])
def test_300_connections_that_never_ask_anything_whole_keep_nobody_out(
    url: str, sent: bytes
) -> None:
    with ExitStack() as held:
        for _ in range(300):
            connection = held.enter_context(connected(url))
            connection.sendall(sent)
        for _ in range(3):
            assert is_answered(url)


def test_300_that_asked_once_and_stay_keep_nobody_out(url: str) -> None:
    with ExitStack() as held:
        for _ in range(300):
            connection = held.enter_context(connected(url))
            connection.sendall(GOOD + b"Content-Length: 2\r\n\r\nok")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert is_answered(url)


def test_one_address_holds_no_more_than_its_share(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "MOST_OF_A_CLIENT", 3)
    with ExitStack() as held:
        first, *_ = [held.enter_context(connected(url)) for _ in range(4)]
        assert is_answered(url)  # all four were accepted before
        assert first.recv(1) == b""


def test_a_request_that_drips_is_cut_off_and_a_client_that_asks_again_is_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsgi, "REQUEST_S", 0.3)
    with connected(url) as dripping, httpx.Client(trust_env=False) as asking:
        dripping.settimeout(0.02)
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                dripping.sendall(b"x")  # never silent for as long as a silent one is borne
                assert asking.post(url, content=b"again").text == "again"
                with suppress(TimeoutError):
                    if dripping.recv(1) == b"":
                        raise ConnectionResetError


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_two_lengths_are_refused(url: str, version: bytes) -> None:
    both = (
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
    )
    said = exchange(url, GOOD.replace(b"1.1", version) + both)
    assert said.startswith(b"HTTP/%s 400" % version) and said.count(b"HTTP/") == 1
    alone = b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert exchange(url, GOOD + alone).endswith(b"ok")
