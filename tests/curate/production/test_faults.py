"""What goes wrong over a weekend: each is dealt with, told and recorded."""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import torch

import curate.production.writer
from curate.doctor import examine
from curate.errors import CurateError
from curate.production import patience, watch
from curate.production.plan import Plan, plan_run
from curate.production.run import Generated, run_plan
from curate.production.versions import save_version, version_folder
from curate.workspace import Workspace
from db import queries
from db.errors import ConnectionLost, StoreError
from db.hashing import json_hash
from db.models import Environment, GeneratorVersion
from generators.base import Denoiser
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator

SETTINGS = SamplingSettings(num_steps=2, batch_size=8)


@pytest.fixture
def version(
    workspace: Workspace, tiny_generator: DiffusionGenerator, tmp_path: Path
) -> GeneratorVersion:
    tiny_generator.save(tmp_path / "tiny")
    return save_version(
        workspace,
        tmp_path / "tiny",
        generator_name="tiny",
        family="text-to-image",
        how_made="imported",
    )


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def planned(workspace: Workspace, version: GeneratorVersion) -> Plan:
    prompt = queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text="drusen")
    return plan_run(workspace, version, [prompt], count=24, settings=SETTINGS)


@pytest.fixture
def make(workspace: Workspace, planned: Plan, told: list[str]) -> Callable[[], Generated]:
    return lambda: run_plan(workspace, planned, lambda done: None, say=told.append)


def log_of(ws: Workspace, run: Plan) -> list[dict[str, Any]]:
    lines = (ws.folder / "runs" / f"{run.id}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def events_of(ws: Workspace, run: Plan) -> list[str]:
    return [line["event"] for line in log_of(ws, run)]


def state_of(ws: Workspace, run: Plan) -> watch.RunState:
    state = watch.state_of(ws.folder, run.id)
    assert state is not None
    return state


def on_forward(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Any], Any]) -> None:
    """Let `change(x_t, prediction)` have the last word on what every U-Net predicts."""
    real = Denoiser.forward

    def forward(self: Denoiser, x_t: Any, t_B: Any, conditions: Any) -> Any:
        return change(x_t, real(self, x_t, t_B, conditions))

    monkeypatch.setattr(Denoiser, "forward", forward)


@pytest.mark.slow
def test_out_of_memory_halves_the_batch_goes_on_and_is_recorded(
    workspace: Workspace,
    planned: Plan,
    make: Callable[[], Generated],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(x_t: Any, prediction: Any) -> Any:
        if len(x_t) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return prediction

    on_forward(monkeypatch, full)
    assert make().made == 24
    assert told == [
        "out of memory: batch_size 8, halved_to 4",
        "out of memory: batch_size 4, halved_to 2",
    ]
    assert events_of(workspace, planned).count("out-of-memory") == 2
    assert state_of(workspace, planned).batch_size == 2
    (image, *_) = queries.runs.images_of_run(
        workspace.session, planned, json_hash(planned.settings)
    )
    assert image.settings is not None and image.settings["batch_size"] == 8  # what was planned
    environment = workspace.session.get_one(Environment, image.environment_id)
    assert environment.details["compute_batch_size"] == 2  # what it was


@pytest.mark.slow
def test_no_memory_for_one_image_is_one_clear_line(
    make: Callable[[], Generated], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(x_t: Any, prediction: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    on_forward(monkeypatch, full)
    with pytest.raises(CurateError, match="Not enough memory for even one image.*bfloat16"):
        make()


def test_images_that_are_no_numbers_are_left_out_and_told(
    workspace: Workspace,
    planned: Plan,
    make: Callable[[], Generated],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(x_t: Any, prediction: Any) -> Any:
        prediction[3] = torch.nan
        return prediction

    with monkeypatch.context() as patch:
        on_forward(patch, broken)
        done = make()
    assert (done.made, done.broken) == (21, 3)
    assert told == ["non finite: num_images 3, first_seeds [3, 11, 19]"]
    assert state_of(workspace, planned).broken == 3
    assert make().made == 3  # the same command makes them when the fault is gone
    assert examine(workspace).is_whole


def test_a_full_disk_stops_with_all_that_was_written_and_the_command_goes_on(
    workspace: Workspace,
    planned: Plan,
    make: Callable[[], Generated],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curate.production.writer, "FLUSH_IMAGES", 8)
    synced = iter(range(1000))

    def full(descriptor: int) -> None:
        if next(synced) > 30:  # more than a batch's files and folders
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    version_folder(workspace, planned.version_id)  # the weights are in the cache already
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left.*run the same command again"):
            make()
    state = state_of(workspace, planned)
    assert state.state == "failed" and "No space left" in state.message
    num_made = len(queries.images.images(workspace.session))
    assert 0 < num_made < 24
    assert make().made == 24 - num_made
    assert examine(workspace).is_whole


def test_a_disk_that_is_full_in_the_last_batch_ends_the_run_too(
    workspace: Workspace,
    planned: Plan,
    make: Callable[[], Generated],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All 24 images are flushed at the end of the queue: there is no second end to wait for."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    version_folder(workspace, planned.version_id)  # the weights are in the cache already
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            make()
    assert make().made == 24


def test_a_lost_database_is_waited_for(
    workspace: Workspace,
    planned: Plan,
    make: Callable[[], Generated],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    answers = iter(["lost", "lost"])
    real = queries.images.add_images

    def add_images(*values: Any) -> int:
        if next(answers, "there") == "lost":
            raise ConnectionLost("The database refuses: server closed the connection.")
        return real(*values)

    monkeypatch.setattr(queries.images, "add_images", add_images)
    assert make().made == 24
    assert [line.partition(":")[0] for line in told] == ["database lost"] * 2 + ["database back"]
    assert examine(workspace).is_whole


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def wait(x_t: Any, prediction: Any) -> Any:
        time.sleep(0.05)
        return prediction

    monkeypatch.setattr(watch, "SECONDS_BETWEEN_LOOKS", 0.01)
    on_forward(monkeypatch, wait)
    yield


def in_the_meantime(ws: Workspace, run: Plan, what: Callable[[], None]) -> threading.Thread:
    """Do `what` in a thread, once the run works."""

    def wait() -> None:
        while (state := watch.state_of(ws.folder, run.id)) is None or state.state != "running":
            time.sleep(0.005)
        what()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.usefixtures("slow")
def test_a_run_can_be_stopped_and_goes_on_later(
    workspace: Workspace, planned: Plan, make: Callable[[], Generated]
) -> None:
    asked = in_the_meantime(
        workspace, planned, lambda: watch.ask(workspace.folder, planned.id, "stop")
    )
    done = make()
    asked.join()
    assert done.stopped and 0 < done.made < 24
    assert state_of(workspace, planned).state == "stopped"
    assert make().made == 24 - done.made
    assert state_of(workspace, planned).state == "finished"


@pytest.mark.usefixtures("slow")
def test_a_run_can_be_paused_and_resumed(
    workspace: Workspace, planned: Plan, make: Callable[[], Generated]
) -> None:
    seen: list[str] = []

    def pause_and_resume() -> None:
        watch.ask(workspace.folder, planned.id, "pause")
        while (state := state_of(workspace, planned)).state != "paused":
            time.sleep(0.005)
        seen.append(state.line())
        watch.ask(workspace.folder, planned.id, "run")

    asked = in_the_meantime(workspace, planned, pause_and_resume)
    assert make().made == 24
    asked.join()
    assert "of 24 images, paused" in seen[0]
    assert [e for e in events_of(workspace, planned) if e in ("paused", "resumed")] == [
        "paused",
        "resumed",
    ]


def test_a_database_that_is_lost_between_two_batches_takes_nothing_from_the_plan(
    workspace: Workspace,
    version: GeneratorVersion,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = [
        queries.prompts.get_or_add_prompt(workspace.session, modality="OCT", text=f"finding {i}")
        for i in range(6)
    ]
    run = plan_run(workspace, version, prompts, count=4, settings=SETTINGS)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    lost = False

    def lose(made: int) -> None:
        nonlocal lost
        workspace.session.connection()
        workspace.session.rollback()  # what rows said is forgotten, to be asked for again
        lost = True

    def refuse_once(*statement: Any) -> None:
        nonlocal lost
        if lost and threading.current_thread() is threading.main_thread():
            lost = False
            raise ConnectionLost("the server closed the connection")

    sqlalchemy.event.listen(workspace.session.get_bind(), "before_cursor_execute", refuse_once)
    done = run_plan(workspace, run, lose, say=told.append)
    assert done.made == 24
    assert "database back" in [line.partition(":")[0] for line in told]
