"""A run on a Ray cluster: workers make the images, this process keeps plan, database and store.

The items, their bytes and how they are kept are those of one machine: a killed worker or node costs
the batches it had, which others make again.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import ray

from curate.cluster.crew import Batch, Crew
from curate.cluster.worker import packed
from curate.errors import CurateError
from curate.generate import Generated, batches_of, concluded, ended, missing_items, writing
from curate.generators_store import load_version
from curate.production.images import prompt_values
from curate.production.items import Item
from curate.production.keeping import keeper
from curate.production.watch import Say, Watch
from curate.production.writer import Writer
from curate.workspace import Workspace
from db import queries
from db.models import Run


def run_plan_on_ray(
    ws: Workspace,
    run: Run,
    advance: Callable[[int], None],
    *,
    address: str,
    say: Say | None = None,
) -> Generated:
    """Make what is missing of the plan, as `curate.generate.run_plan` does.

    `address` is a cluster's, or "auto": the cluster that this machine belongs to, else one of its
    own cores and GPUs, started for this call.
    """
    ws.session.commit()
    already = queries.num_items_done(ws.session, run)
    missing = missing_items(ws, run)
    first = next(missing, None)
    if first is None:
        queries.record_event(ws.session, "generate", {"run": run.id, "made": 0})
        return Generated(run.id, run.num_items, already, 0)
    watch = Watch(ws.folder, run.id, planned=run.num_items, done=already, say=say)
    with ended(watch), connected(address):
        generator = load_version(ws, run.version_id)
        crew = Crew(packed(generator), run.settings, watch.note)
        with writing(ws, keeper(ws, run, generator.codec.unit), watch, advance) as writer:
            items = chain([first], missing)
            batches = _with_prompts(ws, items, int(run.settings["batch_size"]))
            stopped, smallest = _make_all(crew, batches, writer, watch, advance)
    return concluded(ws, run, already, writer, watch, stopped=stopped, batch_size=smallest)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Join the cluster at this address; "local" is one of this machine, for this call."""
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address, **quietly)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address != "auto":
            raise CurateError(
                f"No Ray cluster at {address!r} ({str(error).splitlines()[0]}). Start one with "
                "`ray start --head`, join it with `ray start --address=HOST:6379`."
            ) from error
        ray.init(address="local", include_dashboard=False, **quietly)
    try:
        yield
    finally:
        ray.shutdown()


def _with_prompts(ws: Workspace, items: Iterator[Item], batch_size: int) -> Iterator[Batch]:
    for batch in batches_of(items, batch_size):
        prompt_ids = list(dict.fromkeys(item.prompt_id for item in batch))
        values = prompt_values(ws, prompt_ids)
        ws.session.commit()  # no transaction stays open while others work
        yield batch, values


def _make_all(
    crew: Crew,
    batches: Iterator[Batch],
    writer: Writer,
    watch: Watch,
    advance: Callable[[int], None],
) -> tuple[bool, int]:
    """Return whether a stop was asked for, and the smallest compute shape that a worker took."""
    stopped, smallest = False, 2**31

    def may_go_on() -> bool:
        nonlocal stopped
        stopped = stopped or not watch.may_go_on()
        return not stopped

    try:
        for answer in crew.work(batches, may_go_on):
            for event, details in answer.notes:
                watch.note(event, **details)
            writer.add_encoded(answer.batch)
            smallest = min(smallest, answer.batch_size)
            advance(writer.take_written())
            watch.progress(writer.num_new, len(writer.broken), **_state(crew, answer, smallest))
    finally:
        crew.dismiss()
    return stopped, smallest


def _state(crew: Crew, answer: Any, smallest: int) -> dict[str, Any]:
    return {"batch_size": smallest, "device": answer.device, "num_workers": crew.num_ready}
