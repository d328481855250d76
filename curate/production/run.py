"""Mass production: a plan of items x a generator version -> files and image rows, resumable.

An item is (version, prompt, seed, settings); its key is unique in the database, and what is done is
what has a row. The same plan again makes nothing; a plan of more makes only what is missing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from curate.errors import CurateError
from curate.production.environment import describe_environment, environment_row, gpu_memory_gb
from curate.production.images import Maker, images_of, prompt_value, prompt_values
from curate.production.items import Item, item_key, settings_hash
from curate.production.keeping import RunKeeper
from curate.production.patience import Note, patiently, untold
from curate.production.versions import load_version
from curate.production.watch import Say, Watch
from curate.production.writer import Keeper, Writer
from curate.workspace import Workspace
from db import queries
from db.engine import Engine
from db.hashing import json_hash
from db.models import GeneratorVersion, Prompt, Run
from generators.acceleration import accelerate
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings

__all__ = [
    "Generated",
    "Item",
    "Wanted",
    "describe_environment",
    "environment_row",
    "images_of",
    "item_key",
    "missing_items",
    "plan_run",
    "plan_runs",
    "prompt_value",
    "run_plan",
    "settings_hash",
]

RUN_PROMPTS = 4096  # a longer sheet becomes several runs: memory does not grow with it
LOOK_PROMPTS = 1000  # asked about at once, which of their items have a row
LOOK_SEEDS = 10_000


@dataclass(frozen=True)
class Wanted:
    """A prompt, and which images of it are wanted: seeds `first_seed` .. + count - 1."""

    prompt_id: str
    count: int
    first_seed: int = 0


@dataclass(frozen=True)
class Generated:
    """What one call of `run_plan` did."""

    run_id: str
    planned: int
    already: int
    made: int
    broken: int = 0  # left out: pixels that are no numbers
    stopped: bool = False  # on request, before the end of the plan


# -- planning ----------------------------------------------------------------------------------


def plan_run(
    ws: Workspace,
    version: GeneratorVersion,
    prompts: Iterable[Prompt],
    *,
    count: int,
    first_seed: int = 0,
    settings: SamplingSettings,
) -> Run:
    """Return the run of `count` images a prompt, seeds `first_seed` and up; one row a plan."""
    prompt_ids = list(dict.fromkeys(prompt.id for prompt in prompts))
    return _run_of(ws, version, prompt_ids, count, first_seed, settings)


def plan_runs(
    ws: Workspace, version: GeneratorVersion, wanted: Iterable[Wanted], settings: SamplingSettings
) -> Iterator[Run]:
    """Yield the runs of a sheet of any length: prompts of one count and first seed share one.

    The sheet is read as far as the runs are asked for, 4,096 prompts at a time.
    """
    waiting = iter(wanted)
    while part := list(islice(waiting, RUN_PROMPTS)):
        together: dict[tuple[int, int], list[str]] = defaultdict(list)
        for one in part:
            together[one.count, one.first_seed].append(one.prompt_id)
        for (count, first_seed), prompt_ids in together.items():
            unique = list(dict.fromkeys(prompt_ids))
            yield _run_of(ws, version, unique, count, first_seed, settings)


def _run_of(
    ws: Workspace,
    version: GeneratorVersion,
    prompt_ids: list[str],
    count: int,
    first_seed: int,
    settings: SamplingSettings,
) -> Run:
    if not prompt_ids:
        raise CurateError("No prompt to generate from. Give --prompts FILE or --prompt TEXT.")
    if count < 1:
        raise CurateError(f"--count {count}: at least 1 image a prompt is needed.")
    plan: dict[str, Any] = {
        "version_id": version.id,
        "prompt_ids": prompt_ids,
        "count": count,
        "first_seed": first_seed,
        "settings": settings.to_json(),
    }
    run = Run(id=json_hash(plan), num_items=len(prompt_ids) * count, **plan)
    return queries.runs.get_or_add_run(ws.session, run)


def missing_items(ws: Workspace, run: Run, note: Note = untold) -> Iterator[Item]:
    """Yield the items of the plan that no row has, in plan order.

    What is done is counted on an index for a thousand prompts at once; seeds are looked at only
    where some of a prompt's are missing and others not. Between two looks no transaction is open;
    a lost database is waited for, and `note` is told.
    """
    for start in range(0, len(run.prompt_ids), LOOK_PROMPTS):
        prompt_ids = run.prompt_ids[start : start + LOOK_PROMPTS]
        num_done = _num_done(ws, run, prompt_ids, note)
        for place, prompt_id in enumerate(prompt_ids, start):
            number = num_done.get(prompt_id, 0)
            if number < run.count:
                look = number > 0
                for offset in _missing_offsets(ws, run, prompt_id, note, looking=look):
                    index = place * run.count + offset
                    yield Item(index, prompt_id, run.first_seed + offset)


def _num_done(ws: Workspace, run: Run, prompt_ids: list[str], note: Note) -> dict[str, int]:
    def ask() -> dict[str, int]:
        found = queries.runs.num_done_by_prompt(
            ws.session, **_which(run), prompt_ids=prompt_ids, **_seeds(run, 0, run.count)
        )
        ws.session.commit()
        return found

    return patiently(ask, ws.session, note)


def _missing_offsets(
    ws: Workspace, run: Run, prompt_id: str, note: Note, *, looking: bool
) -> Iterator[int]:
    for low in range(0, run.count, LOOK_SEEDS):
        high = min(low + LOOK_SEEDS, run.count)
        done = _seeds_done(ws, run, prompt_id, range(low, high), note) if looking else set()
        for offset in range(low, high):
            if run.first_seed + offset not in done:
                yield offset


def _seeds_done(ws: Workspace, run: Run, prompt_id: str, offsets: range, note: Note) -> set[int]:
    def ask() -> set[int]:
        seeds = _seeds(run, offsets.start, offsets.stop)
        found = queries.runs.seeds_done(ws.session, **_which(run), prompt_id=prompt_id, **seeds)
        ws.session.commit()
        return found

    return patiently(ask, ws.session, note)


def _which(run: Run) -> dict[str, Any]:
    return {"version_id": run.version_id, "settings_hash": settings_hash(run.settings)}


def _seeds(run: Run, start: int, stop: int) -> dict[str, Any]:
    return {"low": run.first_seed + start, "high": run.first_seed + stop - 1}


# -- making ------------------------------------------------------------------------------------


def run_plan(
    ws: Workspace,
    run: Run,
    advance: Callable[[int], None],
    *,
    device: str = "auto",
    say: Say | None = None,
) -> Generated:
    """Make every image of the plan that is missing; `advance(n)` is told of each n that are done.

    Files are durable before their rows are, in batches: a killed run loses the last seconds' work
    and leaves nothing half-done. An image whose pixels are no numbers is left out and counted; a
    whole batch of them raises CurateError. `say` is told of what goes wrong and is dealt with.
    """
    ws.session.commit()  # the writing thread has a session of its own, which must see the plan
    already = queries.runs.num_items_done(ws.session, run)
    if already == run.num_items:
        queries.audit.record_event(ws.session, "generate", {"run": run.id, "made": 0})
        return Generated(run.id, run.num_items, already, 0)
    watch = Watch(ws.folder, run.id, planned=run.num_items, done=already, say=say)
    with ended(watch):
        generator, settings = _opened(ws, run, device)
        maker = Maker(
            generator, settings, lambda ids: stored_prompts(ws, ids, watch.note), watch.note
        )
        keeper = RunKeeper(ws, run, generator.codec.unit)
        with writing(ws, keeper, watch, advance) as writer:
            batches = batches_of(missing_items(ws, run, watch.note), settings.batch_size)
            stopped = not make_all(batches, maker, writer, watch, advance)
    return concluded(ws, run, already, writer, watch, stopped=stopped, batch_size=maker.batch_size)


def concluded(
    ws: Workspace,
    run: Run,
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
        watch.note("no-numbers", num_images=broken, first_seeds=seeds)
    state = "stopped" if stopped else "finished"
    watch.end(state, made=writer.num_new, broken=broken, batch_size=batch_size)
    details = {"run": run.id, "made": writer.num_new, "broken": broken}
    if batch_size < int(run.settings["batch_size"]):
        details["compute_batch_size"] = batch_size
    patiently(
        lambda: queries.audit.record_event(ws.session, "generate", details), ws.session, watch.note
    )
    return Generated(run.id, run.num_items, already, writer.num_new, broken, stopped)


def _opened(ws: Workspace, run: Run, device: str) -> tuple[Any, SamplingSettings]:
    settings = SamplingSettings.from_json(run.settings)
    generator = load_version(ws, run.version_id).to(chosen_device(device))
    return accelerate(generator, settings), settings


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


def stored_prompts(ws: Workspace, prompt_ids: Sequence[str], note: Note) -> dict[str, PromptValue]:
    """Return prompts by id, condition images loaded; a lost database is waited for."""

    def ask() -> dict[str, PromptValue]:
        values = prompt_values(ws, prompt_ids)
        ws.session.commit()  # no transaction stays open while images are made
        return values

    return patiently(ask, ws.session, note)


def make_all(
    batches: Iterable[list[Item]],
    maker: Maker,
    writer: Writer,
    watch: Watch,
    advance: Callable[[int], None],
) -> bool:
    """Make the batches; return False where a stop was asked for before the end."""
    for batch in batches:
        if not watch.may_go_on():
            return False
        writer.add(batch, maker.make(batch))
        advance(writer.take_written())
        watch.progress(
            writer.num_new,
            len(writer.broken),
            batch_size=maker.batch_size,
            device=str(maker.generator.device),
            gpu_memory_gb=gpu_memory_gb(maker.generator.device),
        )
    return True


def batches_of(items: Iterator[Item], batch_size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, batch_size)):
        yield batch


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
