"""A WSGI application on a port, in a thread of its own.

waitress: the standard library's http.server says of itself that it is not for production; waitress
is pure Python, bounds headers, bodies, connections and slow clients, and needs nothing else.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import waitress.server
from waitress import wasyncore

from curate.errors import CurateError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LIMITS = {
    "connection_limit": 200,
    "channel_timeout": 20,  # seconds that a silent client keeps its place
}


def listen(host: str, port: int, what: str) -> socket.socket:
    """Take the port before anything else is made: a busy one is refused, never moved from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CurateError(
            f"{what} cannot listen on {host}:{port} ({error.strerror}). Stop what listens there "
            "(`curate rate stop` ends this workspace's rating page), or give another --port."
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
        **LIMITS,
    )
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
