"""Many raters at once on a managed Label Studio: no answer lost, none doubled, and how fast.

    python benchmarks/rating_load.py                      # 10 raters, 5,000 tasks: about 11 minutes
    python benchmarks/rating_load.py --raters 4 --tasks 80

Every rater is a thread that answers by HTTP what the label stream gives, while answers are pulled.
In the end every row is compared with what its rater said, and the server is pulled from once more.
Needs the environment of `curate rate serve` (made when it is missing).
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from sqlmodel import select

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.served_workspace import invited, served_workspace
from curate.rating.answers import Taken
from curate.rating.config import PushOptions
from curate.rating.label_studio import label_studio_backend
from curate.rating.pull import pull_campaign
from curate.rating.send import push
from curate.workspace import Workspace
from db import queries
from db.models import Rating
from tests.annotation.label_studio.rater import Rater
from tests.curate.pictures import add_pictures

PATIENCE_S = 120  # for an answer of the server: this measures loss, not patience


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raters", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=5000, help="over all raters")
    parser.add_argument("--minutes", type=float, default=60, help="of rating, at most")
    options = parser.parse_args()
    with served_workspace() as ws:
        measure(ws, options.raters, options.tasks, minutes=options.minutes)


def measure(ws: Workspace, num_raters: int, num_tasks: int, *, minutes: float) -> None:
    raters = [invited(ws, f"r{n}") for n in range(num_raters)]
    add_pictures(ws, num_tasks, num_prompts=10)
    plan = PushOptions(name="load", origin="real", overlap=1, control_fraction=0, repeat_fraction=0)
    started = time.perf_counter()
    done = push(ws, plan, images_from="local")
    ws.session.commit()
    print(f"push: {done.num_new} tasks in {time.perf_counter() - started:.1f} s", flush=True)
    pages = [done.pages[f"r{n}"].split("/projects/")[1].split("/")[0] for n in range(num_raters)]
    seconds: list[float] = []
    started = time.perf_counter()
    with ThreadPoolExecutor(num_raters) as pool:
        work = [
            pool.submit(rate_all, rater, page, seconds, until=started + 60 * minutes)
            for rater, page in zip(raters, pages, strict=True)
        ]
        num_pulls, taken = pull_until(ws, work)
    took = time.perf_counter() - started
    said = {uid: value for future in work for uid, value in future.result().items()}
    check(ws, said, taken)
    tail = statistics.quantiles(seconds, n=20)[-1]
    print(
        f"{len(said)} of {num_tasks} tasks answered by {num_raters} raters at once in {took:.0f} s:"
        f" {len(said) / took:.1f} a second; one (next task and answer) took "
        f"{statistics.median(seconds):.2f} s, 95 % under {tail:.2f} s; {num_pulls} pulls meanwhile;"
        f" {len(said)} rows, each as its rater said: none lost, none doubled"
    )


def rate_all(rater: Rater, project: str, seconds: list[float], *, until: float) -> dict[UUID, int]:
    """Answer all that the stream gives; return what was said of each assignment."""
    rater.client.timeout = PATIENCE_S
    assert rater.log_in()
    said: dict[UUID, int] = {}
    while (started := time.perf_counter()) < until:
        task = rater.next_task(int(project))
        if task is None:
            break
        uid = UUID(task["data"]["uid"])
        assert uid not in said, f"{uid} was given twice"
        said[uid] = 1 + uid.int % 3
        rater.rate(task, quality=str(said[uid]))
        seconds.append(time.perf_counter() - started)
    return said


def pull_until(ws: Workspace, work: list[Future[dict[UUID, int]]]) -> tuple[int, Taken]:
    """Pull every two seconds until all raters are done, and once more."""
    campaign = queries.campaigns.find_campaign(ws.session, "load")
    assert campaign is not None
    num_pulls, taken, shown_at = 0, Taken(), time.perf_counter()
    while True:
        is_last = all(future.done() for future in work)
        taken += pull_campaign(ws, campaign, label_studio_backend(ws)).taken
        num_pulls += 1
        if is_last:
            return num_pulls, taken
        if time.perf_counter() - shown_at > 30:
            shown_at = time.perf_counter()
            print(f"  {taken.new} answers pulled", flush=True)
        time.sleep(2)


def check(ws: Workspace, said: dict[UUID, int], taken: Taken) -> None:
    """Each row as its rater said and no other; reading all again brings nothing."""
    assert (taken.new, taken.revised, taken.quarantined) == (len(said), 0, 0), taken
    campaign = queries.campaigns.find_campaign(ws.session, "load")
    assert campaign is not None
    again = pull_campaign(ws, campaign, label_studio_backend(ws), everything=True).taken
    assert (again.new, again.revised, again.quarantined) == (0, 0, 0), again
    rows = list(ws.session.exec(select(Rating)))
    assert len(rows) == len(said), f"{len(rows)} rows of {len(said)} answers"
    assert {row.assignment_id: row.value for row in rows} == said


if __name__ == "__main__":
    main()
