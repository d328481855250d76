"""A real Label Studio, started once for the tests that need one, and a workspace that it serves.

Its environment is the user's own (see `environment_folder`), its tables those of `migrated_folder`.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from annotation.config import ServerConfig
from annotation.errors import AnnotationError
from annotation.label_studio.access import Access, read_access
from annotation.label_studio.environment import ensure_environment, environment_folder
from annotation.label_studio.server import ManagedServer, free_port, start_server
from curate.rating.label_studio import write_access
from curate.rating.people import invite
from curate.workspace import Workspace, init_workspace, open_workspace
from tests.annotation.label_studio.migrated import migrated_folder
from tests.annotation.label_studio.rater import Rater
from tests.curate.pictures import add_pictures


@dataclass
class Served:
    """A workspace, its running server, and two raters with their passwords."""

    folder: Path
    python: Path
    server: ManagedServer
    raters: dict[str, Rater] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.config.url

    @property
    def access(self) -> Access:
        found = read_access(self.server_folder / "access.json")
        assert found is not None
        return found

    @property
    def server_folder(self) -> Path:
        return self.folder / "label-studio"

    def restart(self) -> None:
        self.server.stop()
        self.server = start_server(self.python, self.server_folder, self.server.config, self.access)


@pytest.fixture(scope="session")
def label_studio_python() -> Path:
    try:
        return ensure_environment(environment_folder(), say=print)
    except (AnnotationError, OSError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def migrated_data(label_studio_python: Path) -> Path:
    """Return a server folder whose database has all its tables and curate's account."""
    try:
        return migrated_folder(label_studio_python)
    except AnnotationError as error:
        pytest.skip(str(error))


def start_or_skip(
    python: Path, folder: Path, config: ServerConfig, access: Access
) -> ManagedServer:
    """Start a server; where none can be started, skip with the last line of its log."""
    try:
        return start_server(python, folder, config, access)
    except AnnotationError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def served(
    label_studio_python: Path, migrated_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """80 pictures on four prompts, Label Studio up, ann and ben invited."""
    folder = tmp_path_factory.mktemp("served") / "workspace"
    init_workspace(folder)
    shutil.copytree(migrated_data, folder / "label-studio")
    config = ServerConfig(port=free_port())
    access = read_access(folder / "label-studio" / "access.json")
    assert access is not None
    access = replace(access, url=config.url)
    write_access(folder / "label-studio" / "access.json", access)
    server = start_or_skip(label_studio_python, folder / "label-studio", config, access)
    try:
        served = Served(folder, label_studio_python, server)
        with open_workspace(folder) as ws:
            add_pictures(ws, 80, num_prompts=4, sides=(64,))
            _invite(ws, served, label_studio_python)
        yield served
    finally:
        server = served.server
        server.stop()


def _invite(ws: Workspace, served: Served, python: Path) -> None:
    os.environ["CURATE_LABEL_STUDIO_ENV"] = str(python.parent.parent)
    for name in ("ann", "ben"):
        person, invitation = invite(
            ws, f"{name}@example.org", name=name, expert_level=3, say=lambda line: None
        )
        served.raters[person.name] = Rater(served.url, invitation.email, invitation.password)


@pytest.fixture
def ws(served: Served) -> Iterator[Workspace]:
    """The served workspace, open."""
    with open_workspace(served.folder) as opened:
        yield opened


@pytest.fixture
def anonymous(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        yield client
