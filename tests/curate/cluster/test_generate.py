"""Two real Ray nodes, each in a network of its own where root permits; one loses its power."""

import os
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from curate.doctor import examine
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import save_version
from curate.production.watch import run_states
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.engine import make_engine
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.curate.cluster.nodes import (
    Nodes,
    command_line,
    processes_of,
    start_curate,
    wait_until,
)

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)

COUNT, STEPS, BATCH = 60, 20, 4
GENERATE = (
    *("generate", "--prompt", "OCT: drusen", "--prompt", "OCT: healthy", "--steps", str(STEPS)),
    *("--batch-size", str(BATCH), "--count", str(COUNT)),
)


@pytest.fixture(params=["folder", "postgresql-and-s3"])
def places(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where rows and files are: in the workspace's folder, or on servers."""
    if request.param == "folder":
        return {}
    server: str = request.getfixturevalue("postgres_url")
    name = f"curate_{uuid4().hex[:12]}"
    engine = make_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    database_url = server.replace("/postgres?", f"/{name}?")
    return {"database_url": database_url, "storage_url": request.getfixturevalue("s3_url")}


def make_workspace(folder: Path, generator: DiffusionGenerator, **places: str) -> Path:
    init_workspace(folder, **places)
    generator.save(folder / "tiny")
    with open_workspace(folder) as ws:
        save_version(
            ws, folder / "tiny", generator_name="t", family="text-to-image", how_made="imported"
        )
    return folder


def pixels(ws: Workspace) -> dict[str | None, str]:
    return {image.item_key: image.pixels_sha256 for image, _ in queries.images.images(ws.session)}


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine; about 40 s on an idle one
def test_a_node_killed_in_the_middle_costs_nothing_and_every_image_is_the_same(
    tmp_path: Path, tiny_generator: DiffusionGenerator, nodes: Nodes, places: dict[str, str]
) -> None:
    alone = make_workspace(tmp_path / "alone", tiny_generator)
    shared = make_workspace(tmp_path / "shared", tiny_generator, **places)
    doomed = nodes.join()
    make_alone(alone)
    command = nodes.curate(*GENERATE, "--ray", nodes.address, "--workspace", str(shared))
    wait_until(lambda: is_in_the_middle(shared) or command.poll() is not None)
    nodes.kill(doomed)
    _, told = command.communicate(timeout=600)
    assert command.returncode == 0, told
    assert "worker lost" in told
    with open_workspace(alone) as one, open_workspace(shared) as other:
        assert len(pixels(one)) == 2 * COUNT
        assert pixels(other) == pixels(one)
        assert examine(other).findings == []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # on a busy machine; about half a minute on an idle one
@pytest.mark.skipif(
    "CURATE_TEST_RAY" not in os.environ, reason="three runs: set CURATE_TEST_RAY=1 to make them"
)
def test_the_command_killed_leaves_no_process_and_goes_on_with_nothing_lost_or_twice(
    tmp_path: Path, tiny_generator: DiffusionGenerator
) -> None:
    alone = make_workspace(tmp_path / "alone", tiny_generator)
    shared = make_workspace(tmp_path / "shared", tiny_generator)
    make_alone(alone)
    command = start_curate(*GENERATE, "--ray", "local", "--workspace", str(shared))
    wait_until(lambda: any(state.made for state in run_states(shared)))
    family = processes_of(command.pid)
    assert any(b"ImageWorker" in command_line(process) for process in family)
    command.kill()
    command.communicate()
    wait_until(lambda: not any(map(command_line, family)))  # seconds, on an idle machine
    with open_workspace(shared) as ws:
        assert 0 < len(pixels(ws)) < 2 * COUNT
    command = start_curate(*GENERATE, "--ray", "local", "--workspace", str(shared))
    _, told = command.communicate(timeout=600)
    assert command.returncode == 0, told
    with open_workspace(alone) as one, open_workspace(shared) as other:
        assert pixels(other) == pixels(one)
        assert examine(other).findings == []


def make_alone(folder: Path) -> None:
    """Make the same images on one machine, without Ray."""
    with open_workspace(folder) as ws:
        version = queries.versions.find_version(ws.session, "latest")
        prompts = [
            queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text)
            for text in ("drusen", "healthy")
        ]
        settings = SamplingSettings(num_steps=STEPS, batch_size=BATCH)
        run_plan(
            ws, plan_run(ws, version, prompts, count=COUNT, settings=settings), lambda done: None
        )


def is_in_the_middle(folder: Path) -> bool:
    """Say whether both nodes are at work, or one of them has not much left to do."""
    return any(state.num_workers == 2 or state.made > COUNT / 2 for state in run_states(folder))
