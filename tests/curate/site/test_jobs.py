"""The queue before the worker, with a real process."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.site.jobs import MOST_KEPT, MOST_WAITING, Jobs, QueuedJob
from tests.curate.site.labour import labour


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with closing(Jobs(tmp_path, labour)) as made:
        yield made


def wait_for(is_so: Callable[[], bool]) -> None:
    """Look again until it is so; the test's own time limit ends what never comes."""
    while not is_so():
        time.sleep(0.01)


def seen(jobs: Jobs, job: QueuedJob) -> QueuedJob:
    """Look at a job again."""
    found = jobs.find(job.id)
    assert found is not None
    return found


def test_jobs_are_done_in_order_by_one_process_and_the_queue_has_an_end(
    jobs: Jobs, tmp_path: Path
) -> None:
    first = jobs.add("stand", n=0)
    wait_for(lambda: bool(seen(jobs, first).parts))
    waiting = [jobs.add("echo", n=n, content=b"x") for n in range(1, MOST_WAITING + 1)]
    assert [jobs.place(job.id) for job in waiting] == list(range(MOST_WAITING))
    with pytest.raises(CurateError, match="wait already"):
        jobs.add("echo", n=99)
    at_work = seen(jobs, first)
    jobs.cancel(waiting[1].id)
    jobs.cancel(first.id)
    wait_for(lambda: all(seen(jobs, job).has_ended for job in waiting))
    assert seen(jobs, first).state == "cancelled" and at_work.state == "working"  # a copy
    assert seen(jobs, first).parts == at_work.parts == [(tmp_path.name, 0)]
    cancelled = seen(jobs, waiting.pop(1))
    assert cancelled.state == "cancelled" and cancelled.parts == []
    others = [seen(jobs, job) for job in waiting]
    assert {job.state for job in others} == {"done"}
    assert [job.parts for job in others] == [[(tmp_path.name, job.asked["n"])] for job in others]
    assert all("content" not in job.asked for job in [*others, cancelled])


def test_a_worker_that_is_killed_fails_its_job_and_the_next_has_another(jobs: Jobs) -> None:
    job = jobs.add("stand", n=0)
    wait_for(lambda: bool(seen(jobs, job).parts))
    assert jobs._process is not None
    jobs._process.kill()
    wait_for(lambda: seen(jobs, job).has_ended)
    assert seen(jobs, job).state == "failed" and "Ask again" in seen(jobs, job).said
    failed, done = jobs.add("fail", n=1), jobs.add("echo", n=2)
    wait_for(lambda: seen(jobs, done).has_ended)
    failed = seen(jobs, failed)
    assert (failed.state, failed.said) == ("failed", "as asked")
    assert seen(jobs, done).state == "done"


def test_only_the_last_jobs_are_remembered(jobs: Jobs) -> None:
    made: list[QueuedJob] = []
    for number in range(MOST_KEPT + 3):
        made.append(jobs.add("echo", n=number))
        wait_for(lambda: seen(jobs, made[-1]).has_ended)
    assert [jobs.find(job.id) is None for job in made] == [True] * 3 + [False] * MOST_KEPT
