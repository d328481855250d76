"""An empty workspace with a Label Studio of its own, for benchmarks of rating."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from annotation.config import ServerConfig
from annotation.label_studio.access import new_access
from annotation.label_studio.environment import ensure_environment, environment_folder
from annotation.label_studio.server import start_server
from curate.rating.label_studio import access_path, server_folder, write_access
from curate.rating.people import invite
from curate.workspace import Workspace, init_workspace, open_workspace
from tests.annotation.label_studio.conftest import free_port
from tests.annotation.label_studio.rater import Rater


def invited(ws: Workspace, name: str) -> Rater:
    _, invitation = invite(
        ws, f"{name}@example.org", name=name, expert_level=3, say=lambda line: None
    )
    return Rater(invitation.url, invitation.email, invitation.password)


@contextmanager
def served_workspace() -> Iterator[Workspace]:
    """Yield an empty workspace with a Label Studio of its own, in a temporary folder."""
    python = ensure_environment(environment_folder(), say=print)
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(folder) as ws:
            config = ServerConfig(port=free_port())
            access = new_access(config.url)
            write_access(access_path(ws), access)
            server = start_server(python, server_folder(ws), config, access)
            try:
                yield ws
            finally:
                server.stop()
