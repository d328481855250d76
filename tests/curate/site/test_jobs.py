"""The queue before the worker, with a real process."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.site.jobs import MOST_KEPT, MOST_WAITING, Jobs
from tests.curate.site.labour import labour


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with closing(Jobs(tmp_path, labour)) as made:
        yield made


def wait_for(is_so: Callable[[], bool]) -> None:
    """Look again until it is so; the test's own time limit ends what never comes."""
    while not is_so():
        time.sleep(0.01)


def test_jobs_are_done_in_order_by_one_process_and_the_queue_has_an_end(
    jobs: Jobs, tmp_path: Path
) -> None:
    first = jobs.add("stand", n=0)
    wait_for(lambda: first.state == "working" and bool(first.parts))
    waiting = [jobs.add("echo", n=n, content=b"x") for n in range(1, MOST_WAITING + 1)]
    assert [jobs.place(job) for job in waiting] == list(range(MOST_WAITING))
    with pytest.raises(CurateError, match="wait already"):
        jobs.add("echo", n=99)
    jobs.cancel(waiting[1])
    jobs.cancel(first)
    wait_for(lambda: all(job.has_ended for job in waiting))
    assert first.state == "cancelled" and first.parts == [(tmp_path.name, 0)]
    assert waiting[1].state == "cancelled" and waiting[1].parts == []
    others = [job for job in waiting if job is not waiting[1]]
    assert {job.state for job in others} == {"done"}
    assert [job.parts for job in others] == [[(tmp_path.name, job.asked["n"])] for job in others]
    assert all("content" not in job.asked for job in others)


def test_a_worker_that_is_killed_fails_its_job_and_the_next_has_another(jobs: Jobs) -> None:
    job = jobs.add("stand", n=0)
    wait_for(lambda: bool(job.parts))
    assert jobs._process is not None
    jobs._process.kill()
    wait_for(lambda: job.has_ended)
    assert job.state == "failed" and "Ask again" in job.said
    failed, done = jobs.add("fail", n=1), jobs.add("echo", n=2)
    wait_for(lambda: done.has_ended)
    assert (failed.state, failed.said, done.state) == ("failed", "as asked", "done")


def test_only_the_last_jobs_are_remembered(jobs: Jobs) -> None:
    made = []
    for number in range(MOST_KEPT + 3):
        made.append(jobs.add("echo", n=number))
        wait_for(lambda: made[-1].has_ended)
    assert [jobs.find(job.id) is job for job in made] == [False] * 3 + [True] * MOST_KEPT
