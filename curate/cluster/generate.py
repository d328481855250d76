"""A run on a Ray cluster: workers make the images, this process keeps plan, database and store.

The items, their bytes and how they are kept are those of one machine: a killed worker or node costs
the batches it had, which others make again.
"""

from collections.abc import Callable

from curate.cluster.crew import Crew
from curate.cluster.image_worker import Equipment, ImageWorker, MadeBatch, packed
from curate.cluster.joining import connected
from curate.production.keeping import RunKeeper
from curate.production.plan import Batch, Plan
from curate.production.run import Generated, batches, concluded, ended, record_run, writing
from curate.production.versions import load_version
from curate.production.watch import Say, Watch
from curate.production.writer import Writer
from curate.workspace import Workspace
from db import queries


def run_plan_on_ray(
    ws: Workspace,
    plan: Plan,
    advance: Callable[[int], None],
    *,
    address: str,
    say: Say | None = None,
) -> Generated:
    """Make what is missing of the plan, as `curate.production.run.run_plan` does.

    `address` is a cluster's HOST:PORT, or "auto" (`curate.cluster.joining.connected`).
    """
    ws.session.commit()
    already = queries.runs.num_items_done(ws.session, plan)
    if already == plan.num_items:
        record_run(ws, plan)
        return Generated(plan.id, plan.num_items, already, 0)
    watch = Watch(ws.folder, plan.id, planned=plan.num_items, done=already, say=say)
    with ended(watch), connected(address):
        generator = load_version(ws, plan.version_id)
        crew = Crew(ImageWorker, Equipment(packed(generator), dict(plan.settings)), watch.note)
        with writing(ws, RunKeeper(ws, plan), watch, advance) as writer:
            stopped, smallest = _make_all(crew, ws, plan, writer, watch, advance)
    return concluded(ws, plan, already, writer, watch, stopped=stopped, batch_size=smallest)


def _make_all(
    crew: Crew[Batch, MadeBatch],
    ws: Workspace,
    plan: Plan,
    writer: Writer,
    watch: Watch,
    advance: Callable[[int], None],
) -> tuple[bool, int]:
    """Return whether a stop was asked for, and the smallest compute shape that a worker took."""
    stopped, smallest = False, int(plan.settings["batch_size"])

    def may_go_on() -> bool:
        nonlocal stopped
        stopped = stopped or not watch.may_go_on()
        return not stopped

    try:
        for made in crew.work(batches(ws, plan, watch.note), may_go_on):
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
