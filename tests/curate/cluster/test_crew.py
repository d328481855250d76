"""Workers that come and go, on one real node: about 15 s."""

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra [ray] is not installed", exc_type=ImportError)

from curate.cluster.crew import MAX_DEATHS, TASKS_A_WORKER, Crew
from curate.cluster.joining import connected
from curate.cluster.versions import own_versions
from curate.errors import CurateError
from tests.curate.cluster.nodes import Nodes

pytestmark = pytest.mark.slow


@dataclass
class Notes:
    """What was told."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, event: str, **details: Any) -> None:
        self.events.append((event, details))


def doubling_worker() -> Any:
    """Return a worker's class; made here, it travels by value and imports nothing."""

    class Doubling:
        def __init__(self, versions: Mapping[str, str]) -> None:
            if "broken" in versions:
                os._exit(1)
            self._versions = versions

        def versions(self) -> Mapping[str, str]:
            return self._versions

        def work(self, task: int) -> tuple[int, int]:
            if task < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return 2 * task, os.getpid()

    return Doubling


@pytest.fixture(scope="module")
def cluster(node: Nodes) -> Iterator[None]:
    with connected(node.address):
        yield


@pytest.fixture
def notes() -> Notes:
    return Notes()


def hired(equipment: Mapping[str, str], notes: Notes) -> Iterator[Crew[int, tuple[int, int]]]:
    crew: Crew[int, tuple[int, int]] = Crew(doubling_worker(), equipment, notes)
    yield crew
    crew.dismiss()


@pytest.fixture
def crew(cluster: None, notes: Notes) -> Iterator[Crew[int, tuple[int, int]]]:
    yield from hired(own_versions(), notes)


def test_a_killed_worker_costs_its_tasks_only_and_each_answer_comes_once(
    crew: Crew[int, tuple[int, int]], notes: Notes
) -> None:
    answers = crew.work(iter(range(200)))
    found = [next(answers) for _ in range(100)]
    os.kill(found[-1][1], signal.SIGKILL)
    found += answers
    assert sorted(number for number, _ in found) == [2 * task for task in range(200)]
    assert len({process for _, process in found}) >= 2
    ((event, details),) = notes.events
    assert event == "worker-lost" and 1 <= details["batches_again"] <= TASKS_A_WORKER


def test_tasks_are_taken_as_workers_are_free_for_them(crew: Crew[int, tuple[int, int]]) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for task in range(1000):
            taken += 1
            yield task

    answers = crew.work(tasks())
    for number_back in range(1, 50):
        next(answers)
        assert taken <= number_back + 2 * TASKS_A_WORKER
    assert len(list(answers)) == 1000 - 49


def test_nothing_more_is_handed_out_once_it_may_not_go_on(
    crew: Crew[int, tuple[int, int]],
) -> None:
    found: list[tuple[int, int]] = []
    for answer in crew.work(iter(range(1000)), lambda: len(found) < 10):
        found.append(answer)
    assert 10 <= len(found) < 30


def test_a_task_that_kills_worker_after_worker_ends_the_work(
    crew: Crew[int, tuple[int, int]], notes: Notes
) -> None:
    with pytest.raises(CurateError, match="workers died on the same batch.*smaller --batch-size"):
        list(crew.work(iter([1, 2, -1, 3])))
    # a worker may die before the answer to the task before has arrived: that one is blamed then
    assert MAX_DEATHS <= len(notes.events) < 2 * MAX_DEATHS


def test_workers_with_other_versions_are_refused(cluster: None, notes: Notes) -> None:
    for crew in hired(own_versions() | {"torch": "1.0"}, notes):
        with pytest.raises(CurateError, match=r"has torch 1\.0 \(here .*Install the same versions"):
            list(crew.work(iter([1])))


def test_workers_that_never_open_end_the_work(cluster: None, notes: Notes) -> None:
    for crew in hired({"broken": "yes"}, notes):
        with pytest.raises(CurateError, match="workers died before they were ready"):
            list(crew.work(iter([1])))
