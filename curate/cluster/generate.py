"""A run on a Ray cluster: workers make the images, this process keeps plan, database and store.

The items, their bytes and how they are kept are those of one machine: a killed worker or node costs
the batches it had, which others make again.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from curate.cluster.crew import Crew
from curate.cluster.image_worker import Batch, Equipment, ImageWorker, Made, packed
from curate.cluster.joining import connected
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

    `address` is a cluster's HOST:PORT, or "auto" (`curate.cluster.joining.connected`).
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
        crew = Crew(ImageWorker, Equipment(packed(generator), run.settings), watch.note)
        with writing(ws, keeper(ws, run, generator.codec.unit), watch, advance) as writer:
            items = chain([first], missing)
            batches = _with_prompts(ws, items, int(run.settings["batch_size"]))
            stopped, smallest = _make_all(crew, batches, writer, watch, advance)
    return concluded(ws, run, already, writer, watch, stopped=stopped, batch_size=smallest)


def _with_prompts(ws: Workspace, items: Iterator[Item], batch_size: int) -> Iterator[Batch]:
    for batch in batches_of(items, batch_size):
        prompt_ids = list(dict.fromkeys(item.prompt_id for item in batch))
        values = prompt_values(ws, prompt_ids)
        ws.session.commit()  # no transaction stays open while others work
        yield Batch(batch, values)


def _make_all(
    crew: Crew[Batch, Made],
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
        for made in crew.work(batches, may_go_on):
            for event, details in made.notes:
                watch.note(event, **details)
            writer.add_encoded(made.batch)
            smallest = min(smallest, made.batch_size)
            advance(writer.take_written())
            watch.progress(
                writer.num_new,
                len(writer.broken),
                batch_size=smallest,
                device=made.device,
                num_workers=crew.num_ready,
            )
    finally:
        crew.dismiss()
    return stopped, smallest
