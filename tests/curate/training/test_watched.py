"""A training is seen and steered as runs of images are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from curate.errors import CurateError
from curate.production.watch import ask_run, run_states
from curate.progress import ShowProgress
from curate.status import read_status
from curate.training.finetune import train_generator
from curate.workspace import Workspace
from db.models import GeneratorVersion
from generators.training import processes
from tests.curate.training.conftest import quick_task


def after_steps(number: int, what: Any) -> ShowProgress:
    """Call `what` once so many steps were taken and the one after was told of."""

    @contextmanager
    def show(total: int, counted: str) -> Iterator[Any]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if counted == "steps" and done == number + 1:
                what()

        yield advance

    return show


def train(ws: Workspace, start: GeneratorVersion, show: ShowProgress) -> GeneratorVersion:
    task = quick_task(start, num_steps=6, checkpoint_every=5, validate_every=6)
    return train_generator(ws, task, say=lambda line: None, show=show)


def test_status_tells_of_a_training_that_stops_when_asked_and_goes_on_later(
    pictures: Workspace, start: GeneratorVersion
) -> None:
    lines = []

    def look_and_stop() -> None:
        lines.append(read_status(pictures).lines()[-2])  # the last says what is next
        ask_run(pictures.folder, None, "stop")

    with pytest.raises(CurateError, match="Stopped after 3 of 6 steps.*same command goes on"):
        train(pictures, start, after_steps(2, look_and_stop))
    assert lines[0].startswith("training ") and "of 6 steps, running" in lines[0]
    assert "images/s" in lines[0] and "(cpu, batches of 4)" in lines[0]
    [stopped] = run_states(pictures.folder)
    assert (stopped.state, stopped.done, stopped.planned, stopped.what) == (
        "stopped",
        3,
        6,
        "steps",
    )
    seen = []
    made = train(pictures, start, after_steps(3, lambda: seen.append(run_states(pictures.folder))))
    assert made.metrics["num_steps"] == 6
    [[going_on]] = seen
    assert going_on.state == "starting" and going_on.done == 3  # from the kept steps
    [finished] = run_states(pictures.folder)
    assert (finished.state, finished.done) == ("finished", 6)


@pytest.mark.slow
def test_a_training_can_be_paused(
    pictures: Workspace, start: GeneratorVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(run_states(pictures.folder)[0])
        ask_run(pictures.folder, None, "run")

    monkeypatch.setattr(processes, "time", type("Clock", (), {"sleep": staticmethod(sleep)}))
    made = train(pictures, start, after_steps(1, lambda: ask_run(pictures.folder, None, "pause")))
    assert made.metrics["num_steps"] == 6
    [paused] = seen
    assert paused.state == "paused" and "of 6 steps, paused" in paused.line()
