"""A WSGI application on a port, in a thread of its own.

waitress: the standard library's http.server says of itself that it is not for production; waitress
is pure Python, bounds headers, bodies and connections, and needs nothing else. What it leaves open,
a client that drips bytes or only holds connections, is closed here.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import waitress.server
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError

from curate.errors import CurateError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MOST_CONNECTIONS = 200  # beyond them, one that waits gives its place to a new one
MOST_OF_A_CLIENT = 100  # connections of one address
REQUEST_S = 15.0  # within which a request must be whole, from its first byte on
LIMITS = {
    "connection_limit": 2 * MOST_CONNECTIONS,  # when none of them waits
    "channel_timeout": 20,  # seconds that a silent client keeps its place
    "cleanup_interval": 5,  # seconds between looks for those
    "asyncore_use_poll": True,  # select() knows no file past 1,024
}


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses a request with two lengths: what stands before us may go by the other one."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        is_chunked = self.chunked or "TRANSFER_ENCODING" in self.headers
        if is_chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length and Transfer-Encoding in one request")


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection. Whoever holds most of them gives way first, with the one waiting longest."""

    parser_class = _Parser

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any) -> None:
        self.waits_since = time.monotonic()  # for the rest of a request, or for any
        super().__init__(server, sock, addr, adj, map=map)
        others = [channel for channel in server.active_channels.values() if channel is not self]
        num_of_client = Counter(channel.addr[0] for channel in others)
        busiest = max(num_of_client, key=num_of_client.__getitem__, default=None)
        if num_of_client[addr[0]] >= MOST_OF_A_CLIENT:
            busiest = addr[0]
        elif len(others) < MOST_CONNECTIONS:
            return
        waiting = [c for c in others if c.addr[0] == busiest and not c.requests]
        if waiting:  # those that still read their answer last
            min(waiting, key=lambda c: (c.total_outbufs_len > 0, c.waits_since)).handle_close()

    def received(self, data: bytes) -> Any:
        before = self.request
        done = super().received(data)
        if self.request is None or self.request is not before:
            self.waits_since = time.monotonic()
        return done

    def readable(self) -> Any:
        if self.request is not None and time.monotonic() - self.waits_since > REQUEST_S:
            self.will_close = True
        return super().readable()


def listen(host: str, port: int, what: str) -> socket.socket:
    """Take the port before anything else is made: a busy one is refused, never moved from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CurateError(
            f"{what} cannot listen on {host}:{port} ({error.strerror}). Stop the process "
            f"that uses the port (`curate rate stop` ends this workspace's rating page), "
            f"or give another --port."
        ) from error


@contextmanager
def served(
    app: "WSGIApplication",
    listener: socket.socket,
    *,
    threads: int,
    max_header: int = 8_192,
    max_body: int = 1_024,
) -> Iterator[None]:
    """Answer on `listener` until the block ends; sizes in bytes."""
    sockets: dict[int, Any] = {}  # of its own: two services in one process do not mix
    server = waitress.server.create_server(
        app,
        sockets=[listener],
        threads=threads,
        ident=None,  # no name and version in every answer
        map=sockets,
        max_request_header_size=max_header,
        max_request_body_size=max_body,
        inbuf_overflow=2 * max_body,  # bodies stay in memory: nothing sent lands on a disk
        **LIMITS,
    )
    server.channel_class = _Channel
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # in the server's own thread: a socket closed under its select would be an error there
        with suppress(OSError):  # woken by an answer in between, it has closed all of them already
            server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        thread.join()
        server.task_dispatcher.shutdown()
