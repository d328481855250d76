"""The site and its worker killed by force, in the middle of a try and while keeping."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from curate.doctor import examine
from curate.production.versions import save_version
from curate.workspace import Workspace
from db import queries
from generators.diffusion.generator import DiffusionGenerator
from tests.children import curate, started

pytestmark = pytest.mark.slow
FORM = {"modality": "OCT", "text": "drusen", "count": "16", "seed": "3", "steps": "180"}


@dataclass
class Site:
    """`curate serve` in a process of its own, and a browser that it let in."""

    pid: int
    browser: httpx.Client
    csrf: str

    def send(self, path: str, **form: str) -> str:
        """Send a form; return the path of the page that answers."""
        answer = self.browser.post(path, data={"csrf": self.csrf, **form})
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def kill(self, *others: int) -> None:
        """Kill the site, and processes beside it, at once."""
        for pid in (*others, self.pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in (*others, self.pid)))

    def workers(self) -> list[int]:
        """Return the processes that the site has started and that compute."""
        tasks = Path(f"/proc/{self.pid}/task")
        found = " ".join(path.read_text() for path in tasks.glob("*/children")).split()
        return [pid for pid in map(int, found) if b"spawn_main" in commandline(pid)]


def commandline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(is_so: Callable[[], bool]) -> None:
    """Look again until it is so; the test's own time limit ends what never comes."""
    while not is_so():
        time.sleep(0.02)


@pytest.fixture
def version(workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path) -> str:
    tiny_generator.save(tmp_path / "plain")
    row = save_version(
        workspace,
        tmp_path / "plain",
        generator_name="plain",
        family=tiny_generator.family,
        how_made="imported",
    )
    workspace.session.commit()
    return row.id


@pytest.fixture
def serve(workspace: Workspace, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    browsers, pids = list[httpx.Client](), list[int]()

    def begin() -> Site:
        said = tmp_path / f"said-{len(pids)}.txt"
        command = ["serve", "--port", "0", "--workspace", str(workspace.folder)]
        child = started(curate, command, tmp_path, said=said)
        assert child.pid is not None
        pids.append(child.pid)
        wait_for(lambda: said.is_file() and "token=" in said.read_text())
        url = re.findall(r"http://\S+token=\S+", said.read_text())[0]
        here = url.partition("/?")[0]
        browser = httpx.Client(base_url=here, headers={"Origin": here}, timeout=60)
        browsers.append(browser)
        assert browser.get(url).status_code == 303
        found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
        assert found
        return Site(child.pid, browser, found[1])

    yield begin
    for browser in browsers:
        browser.close()
    for pid in filter(is_alive, pids):
        os.kill(pid, signal.SIGKILL)


def made(ws: Workspace) -> dict[int, str]:
    """Return {seed: hash of the file} of the images that are rows."""
    ws.session.expire_all()
    found = queries.images.images(ws.session, origin="synthetic")
    ws.session.rollback()
    return {image.seed or 0: image.file_sha256 for image, _ in found}


def test_a_site_killed_in_a_try_leaves_nothing_and_its_worker_goes_too(
    workspace: Workspace, version: str, serve: Callable[[], Site]
) -> None:
    site = serve()
    page = site.send("/try", version=version, **FORM)
    wait_for(lambda: site.browser.get(f"{page}.json").json()["made"] >= 4)
    [worker] = site.workers()
    assert is_alive(worker)
    site.kill()
    wait_for(lambda: not is_alive(worker))  # by itself: its pipe is broken
    assert examine(workspace).is_whole and made(workspace) == {}


def test_a_keep_that_was_killed_with_its_site_goes_on_where_it_stood(
    workspace: Workspace, version: str, serve: Callable[[], Site]
) -> None:
    site = serve()
    page = site.send("/try", version=version, **FORM)
    wait_for(lambda: site.browser.get(f"{page}.json").json()["state"] == "done")
    site.send(f"{page}/keep")
    wait_for(lambda: 0 < len(made(workspace)))
    site.kill(*site.workers())
    before = made(workspace)
    assert 0 < len(before) < 16
    # A file is durable before its row is: the kill may fall between. Nothing else may be amiss.
    assert {finding.kind for finding in examine(workspace).findings} <= {"orphan"}
    again = serve()
    page = again.send("/try", version=version, **FORM)
    wait_for(lambda: again.browser.get(f"{page}.json").json()["state"] == "done")
    again.send(f"{page}/keep")
    wait_for(lambda: bool(again.browser.get(f"{page}.json").json()["kept"]))
    [kept] = again.browser.get(f"{page}.json").json()["kept"]
    assert (kept["already"], kept["made"]) == (len(before), 16 - len(before))
    after = made(workspace)
    assert sorted(after) == [*range(3, 19)] and before.items() <= after.items()
    assert examine(workspace).is_whole
