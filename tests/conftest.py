"""What all tests share: an open workspace, a tiny generator, one thread, no outside network."""

import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from curate.workspace import Workspace
    from db.engine import Session
    from generators.diffusion.generator import DiffusionGenerator


def pytest_configure() -> None:
    """Hold for child processes too; two threads on a busy machine are 50 times slower than one."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"  # a model hub is refused by name, not by a time-out
    os.environ["HF_DATASETS_OFFLINE"] = "1"


SERVED_TOGETHER = ("tests/annotation/label_studio", "tests/curate/cluster", "tests/db")


def group_of(file: str) -> str:
    """Return a file's group: itself, or the folder whose tests share a server."""
    return next((folder for folder in SERVED_TOGETHER if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a group's tests to one process: fixtures of a file or a folder are made once.

    `--dist loadgroup` does not: pytest 9.2 ignores the names under which xdist 3.8 groups tests.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0])

    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with groups that have slow tests: no process has one left when the others are done."""
    groups = {item: group_of(item.path.relative_to(config.rootpath).as_posix()) for item in items}
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (groups[item] not in slow, groups[item]))


def _is_on_this_machine(family: int, address: Any) -> bool:
    if family == socket.AF_UNIX:
        return True
    host = address[0]
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def _refuse_outside(family: int, address: Any) -> None:
    if not _is_on_this_machine(family, address):
        pytest.fail(f"a test reached for {address}: tests stay on this machine", pytrace=True)


@pytest.fixture(autouse=True)
def _no_outside_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked_connect(self: socket.socket, address: Any) -> None:
        _refuse_outside(self.family, address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_outside(self.family, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, and a busy disk takes up to a second for each fsync."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def _empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied for each test: the migrations take longer than most tests."""
    from curate.workspace import init_workspace

    folder = tmp_path_factory.mktemp("empty") / "workspace"
    init_workspace(folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path, _empty_workspace: Path) -> "Iterator[Workspace]":
    """An initialised workspace in a temporary folder, open."""
    from curate.workspace import open_workspace

    shutil.copytree(_empty_workspace, tmp_path / "workspace")
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def session(workspace: "Workspace") -> "Session":
    """The session of `workspace`."""
    return workspace.session


@pytest.fixture
def tiny_generator() -> "DiffusionGenerator":
    """An untrained real generator: 16 x 16 px, milliseconds an image."""
    from tests.tiny import tiny_generator

    return tiny_generator(seed=0)
