"""The image service on a port, in a thread of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from curate.image_service.app import image_app, pictures_of
from curate.image_service.config import ImageServiceConfig
from curate.image_service.signing import workspace_key
from curate.web.wsgi import listen, served
from curate.workspace import Workspace
from db.engine import Engine

THREADS = 4  # a picture takes milliseconds: raters look longer


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
    app = image_app(pictures_of(bind, ws.store), workspace_key(ws.folder), origins=config.origins)
    listener = listen(config.host, config.port, "The image service")
    port = listener.getsockname()[1]
    with served(app, listener, threads=THREADS):
        yield RunningService(f"http://{config.host}:{port}")
