"""Mass production: a plan and a generator version -> files and image rows, resumable."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from curate.errors import CurateError
from curate.production.environment import gpu_memory_gb
from curate.production.images import Maker, prompt_values
from curate.production.keeping import RunKeeper
from curate.production.patience import Note, patiently
from curate.production.plan import Batch, Plan, batches_of, missing_items
from curate.production.versions import load_version
from curate.production.watch import Say, Watch
from curate.production.writer import Keeper, Writer
from curate.workspace import Workspace
from db import queries
from db.engine import Engine
from generators.acceleration import accelerate
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings


@dataclass(frozen=True)
class Generated:
    """What one call of `run_plan` did."""

    run_id: str
    planned: int
    already: int
    made: int
    broken: int = 0  # left out: NaN or infinite pixels
    stopped: bool = False  # on request, before the end of the plan


def run_plan(
    ws: Workspace,
    plan: Plan,
    advance: Callable[[int], None],
    *,
    device: str = "auto",
    say: Say | None = None,
) -> Generated:
    """Make every image of the plan that is missing; `advance(n)` is told of each n that are done.

    Files are durable before their rows are, in batches: a killed run loses the last seconds' work
    and leaves nothing half-done. An image with NaN or infinite pixels is left out and counted; a
    whole batch of them raises CurateError. `say` is told of what goes wrong and is dealt with.
    """
    ws.session.commit()  # the writing thread has a session of its own, which must see the plan
    already = queries.runs.num_items_done(ws.session, plan)
    if already == plan.num_items:
        queries.audit.record_event(ws.session, "generate", {"run": plan.id, "made": 0})
        return Generated(plan.id, plan.num_items, already, 0)
    watch = Watch(ws.folder, plan.id, planned=plan.num_items, done=already, say=say)
    with ended(watch):
        settings = SamplingSettings.from_json(plan.settings)
        generator = load_version(ws, plan.version_id).to(chosen_device(device))
        maker = Maker(accelerate(generator, settings), settings, watch.note)
        with writing(ws, RunKeeper(ws, plan), watch, advance) as writer:
            stopped = not make_all(batches(ws, plan, watch.note), maker, writer, watch, advance)
    return concluded(ws, plan, already, writer, watch, stopped=stopped, batch_size=maker.batch_size)


def concluded(
    ws: Workspace,
    plan: Plan,
    already: int,
    writer: Writer,
    watch: Watch,
    *,
    stopped: bool,
    batch_size: int,
) -> Generated:
    """Record how a run ended, and return it; `batch_size` is the compute shape at its end."""
    broken = len(writer.broken)
    if broken:
        seeds = [item.seed for item in writer.broken[:10]]
        watch.note("non-finite", num_images=broken, first_seeds=seeds)
    state = "stopped" if stopped else "finished"
    watch.end(state, made=writer.num_new, broken=broken, batch_size=batch_size)
    details = {"run": plan.id, "made": writer.num_new, "broken": broken}
    if batch_size < int(plan.settings["batch_size"]):
        details["compute_batch_size"] = batch_size
    patiently(
        lambda: queries.audit.record_event(ws.session, "generate", details), ws.session, watch.note
    )
    return Generated(plan.id, plan.num_items, already, writer.num_new, broken, stopped)


def chosen_device(name: str) -> torch.device:
    """Return the device of this name; "auto" is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CurateError(
            f"No device {name!r} here ({str(error).splitlines()[0]}). Give --device cpu, or cuda "
            "where PyTorch finds a GPU."
        ) from error
    return device


def batches(ws: Workspace, plan: Plan, note: Note) -> Iterator[Batch]:
    """Yield what is missing in batches with their prompts, condition images loaded.

    A plan goes prompt by prompt: those of the last batch are not read again. A lost database is
    waited for, and no transaction stays open while images are made.
    """
    known: Mapping[str, PromptValue] = {}
    size = int(plan.settings["batch_size"])
    for items in batches_of(missing_items(ws, plan, note), size):
        prompt_ids = dict.fromkeys(item.prompt_id for item in items)
        new = [prompt_id for prompt_id in prompt_ids if prompt_id not in known]

        def read(new: Sequence[str] = new) -> dict[str, PromptValue]:
            values = prompt_values(ws, new)
            ws.session.commit()
            return values

        values = {**known, **(patiently(read, ws.session, note) if new else {})}
        known = {prompt_id: values[prompt_id] for prompt_id in prompt_ids}
        yield Batch(items, known)


def make_all(
    made_of: Iterable[Batch],
    maker: Maker,
    writer: Writer,
    watch: Watch,
    advance: Callable[[int], None],
) -> bool:
    """Make the batches; return False where a stop was asked for before the end."""
    for batch in made_of:
        if not watch.may_go_on():
            return False
        writer.add(batch.items, maker.make(batch))
        advance(writer.take_written())
        watch.progress(
            writer.num_new,
            len(writer.broken),
            batch_size=maker.batch_size,
            device=str(maker.generator.device),
            gpu_memory_gb=gpu_memory_gb(maker.generator.device),
        )
    return True


@contextmanager
def ended(watch: Watch) -> Iterator[None]:
    """Write into the state how a run ended that did not come to its end."""
    try:
        yield
    except KeyboardInterrupt:
        watch.end("stopped")
        raise
    except BaseException as error:
        watch.end("failed", error=" ".join(str(error).split()) or type(error).__name__)
        raise


@contextmanager
def writing(
    ws: Workspace, keeper: Keeper, watch: Watch, advance: Callable[[int], None]
) -> Iterator[Writer]:
    """Give a writer; all that it took is written at the end, after Ctrl-C too."""
    engine = ws.session.get_bind()
    assert isinstance(engine, Engine)
    writer = Writer(engine, keeper, watch.note)
    try:
        yield writer
    finally:
        writer.close()
    advance(writer.take_written())
