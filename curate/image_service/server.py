"""The image service on a port, in a thread of its own.

waitress: the standard library's http.server says of itself that it is not for production; waitress
is pure Python, bounds headers, bodies, connections and slow clients, and needs nothing else.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import waitress.server
from waitress import wasyncore

from curate.errors import CurateError
from curate.image_service.app import image_app, pictures_of
from curate.image_service.config import ImageServiceConfig
from curate.image_service.signing import workspace_key
from curate.workspace import Workspace
from db.engine import Engine

THREADS = 4  # a picture takes milliseconds: raters look longer
LIMITS = {
    "connection_limit": 200,
    "channel_timeout": 20,  # seconds that a silent client keeps its place
    "max_request_header_size": 8_192,
    "max_request_body_size": 1_024,  # nobody sends us anything
}


@dataclass(frozen=True)
class RunningService:
    """An image service that answers."""

    url: str  # as this machine sees it; behind a proxy raters use another


@contextmanager
def image_service(ws: Workspace, config: ImageServiceConfig) -> Iterator[RunningService]:
    """Serve a workspace's pictures until the block ends.

    Reads through connections of its own: `ws` may be used, or left alone, meanwhile. Raises
    CurateError when the port is taken.
    """
    bind = ws.session.get_bind()
    assert isinstance(bind, Engine)
    sockets: dict[int, Any] = {}  # of its own: two services in one process do not mix
    app = image_app(pictures_of(bind, ws.store), workspace_key(ws.folder), origins=config.origins)
    listener = _listener(config)
    server = waitress.server.create_server(
        app,
        sockets=[listener],
        threads=THREADS,
        ident=None,  # no name and version in every answer
        map=sockets,
        **LIMITS,
    )
    thread = threading.Thread(target=server.run, name="image-service", daemon=True)
    thread.start()
    try:
        yield RunningService(f"http://{config.host}:{listener.getsockname()[1]}")
    finally:
        # in the server's own thread: a socket closed under its select would be an error there
        server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        thread.join()
        server.task_dispatcher.shutdown()


def _listener(config: ImageServiceConfig) -> socket.socket:
    """Take the port before anything else is made: a busy one is refused, never moved from."""
    try:
        return socket.create_server((config.host, config.port))
    except OSError as error:
        raise CurateError(
            f"The image service cannot listen on {config.host}:{config.port} ({error.strerror}). "
            "Stop what listens there, or give another --port."
        ) from error
