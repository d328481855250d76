"""Two real Ray nodes in processes of their own; one is killed while it works. About 40 s."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curate.doctor import examine
from curate.generate import plan_run, run_plan
from curate.generators_store import save_version
from curate.production.watch import run_states
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.base import Generator
from generators.config import SamplingSettings

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")

ROOT = Path(__file__).parents[3]
COUNT, STEPS, BATCH = 100, 20, 4
GENERATE = (
    *("generate", "--prompt", "OCT: drusen", "--prompt", "OCT: healthy", "--steps", str(STEPS)),
    *("--batch-size", str(BATCH), "--count", str(COUNT)),
)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Ray nodes that stay in the foreground; end what is left of them."""
    nodes: list[subprocess.Popen[bytes]] = []
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie below it

    def started(*options: str) -> "subprocess.Popen[bytes]":
        common = ("--block", "--num-cpus=1", "--object-store-memory=100000000")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *options]
        if "--head" in options:
            command += [f"--temp-dir={folder}", "--include-dashboard=false"]
        nodes.append(
            subprocess.Popen(
                command,
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return nodes[-1]

    yield started
    for node in reversed(nodes):
        kill(node)


def environment() -> dict[str, str]:
    here = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return os.environ | here


def kill(node: "subprocess.Popen[bytes]") -> None:
    """Kill a node with all its processes, as a power cut would."""
    for process in processes_of(node.pid):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
    node.wait(30)


def processes_of(parent: int) -> list[int]:
    """Return a process with its descendants."""
    found = [parent]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except FileNotFoundError:
            continue
        found += [int(child) for child in children]
    return found


def make_workspace(folder: Path, generator: Generator) -> Path:
    init_workspace(folder)
    generator.save(folder / "tiny")
    with open_workspace(folder) as ws:
        save_version(
            ws, folder / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
    return folder


def curate(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "cli.py", *arguments, "--workspace", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, stderr=subprocess.PIPE)


def pixels(ws: Workspace) -> dict[str | None, str]:
    return {image.item_key: image.pixels_sha256 for image, _ in queries.images(ws.session)}


def wait_until(holds: Callable[[], bool], *, within_s: float = 300) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(
    "CURATE_TEST_RAY" not in os.environ, reason="two Ray nodes: set CURATE_TEST_RAY=1 to start them"
)
@pytest.mark.timeout(900)  # on a busy machine; about 40 s on an idle one
def test_a_node_killed_in_the_middle_costs_nothing_and_every_image_is_the_same(
    tmp_path: Path, tiny_generator: Generator, start: Start
) -> None:
    alone = make_workspace(tmp_path / "alone", tiny_generator)
    shared = make_workspace(tmp_path / "shared", tiny_generator)
    make_alone(alone)
    port = 20000 + os.getpid() % 10000
    start("--head", f"--port={port}")
    wait_until(lambda: is_up(port))
    doomed = start(f"--address=127.0.0.1:{port}")
    command = curate(shared, *GENERATE, "--ray", f"127.0.0.1:{port}")
    wait_until(lambda: is_in_the_middle(shared) or command.poll() is not None)
    kill(doomed)
    _, told = command.communicate(timeout=280)
    assert command.returncode == 0, told
    assert "worker lost" in told
    with open_workspace(alone) as one, open_workspace(shared) as other:
        assert len(pixels(one)) == 2 * COUNT
        assert pixels(other) == pixels(one)
        assert examine(other).findings == []


def make_alone(folder: Path) -> None:
    """Make the same images on one machine, without Ray."""
    with open_workspace(folder) as ws:
        version = queries.find_version(ws.session, "latest")
        prompts = [
            queries.get_or_add_prompt(ws.session, modality="OCT", text=text)
            for text in ("drusen", "healthy")
        ]
        settings = SamplingSettings(num_steps=STEPS, batch_size=BATCH)
        run_plan(
            ws, plan_run(ws, version, prompts, count=COUNT, settings=settings), lambda done: None
        )


def is_in_the_middle(folder: Path) -> bool:
    """Say whether both nodes are at work, or one of them has not much left to do."""
    return any(state.num_workers == 2 or state.made > COUNT / 2 for state in run_states(folder))


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
