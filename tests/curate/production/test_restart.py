"""A real PostgreSQL that goes away and comes back in the middle of a run."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.doctor import examine
from curate.production import patience, watch
from curate.production.plan import plan_run
from curate.production.run import run_plan
from curate.production.versions import save_version
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.base import Denoiser
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from tests.postgres import start_postgres_or_skip


@pytest.fixture
def server() -> Iterator[Any]:
    """A server of this test's own: it is stopped and started."""
    found = start_postgres_or_skip()
    yield found
    found.cleanup()


@pytest.fixture
def on_postgres(server: Any, tmp_path: Path) -> Iterator[Workspace]:
    init_workspace(tmp_path / "workspace", database_url=server.get_uri())
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


@pytest.mark.slow
def test_a_run_goes_on_when_the_database_server_was_stopped_and_started_again(
    server: Any,
    on_postgres: Workspace,
    tiny_generator: DiffusionGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws = on_postgres
    tiny_generator.save(tmp_path / "tiny")
    version = save_version(
        ws,
        tmp_path / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=f"finding {i}")
        for i in range(300)  # more than are remembered: the database is asked all the while
    ]
    settings = SamplingSettings(num_steps=1, batch_size=4)
    run = plan_run(ws, version, prompts, count=1, settings=settings)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.1)
    down = threading.Event()
    real = Denoiser.forward

    def forward(self: Denoiser, *values: Any) -> Any:
        time.sleep(0.01)
        return real(self, *values)

    def stop_and_start() -> None:
        while (state := watch.state_of(ws.folder, run.id)) is None or state.state != "running":
            time.sleep(0.005)
        server.stop()
        down.set()
        time.sleep(0.5)
        server.ensure_postgres_running()

    monkeypatch.setattr(Denoiser, "forward", forward)
    told: list[str] = []
    restarting = threading.Thread(target=stop_and_start)
    restarting.start()
    done = run_plan(ws, run, lambda number: None, say=told.append)
    restarting.join()
    assert down.is_set() and done.made == 300
    events = [line.partition(":")[0] for line in told]
    assert "database lost" in events and events[-1] == "database back"
    assert queries.runs.num_items_done(ws.session, run) == 300
    assert examine(ws).is_whole
