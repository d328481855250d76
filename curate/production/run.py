"""Mass production: a plan and a generator version -> files and image rows, resumable."""

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from curate.errors import CurateError, Stopped
from curate.production.environment import describe_environment, gpu_memory_gb
from curate.production.images import (
    Pixels,
    alike,
    are_finite,
    conditions_of,
    ends_of,
    noise_seeds,
    prompt_values,
    shapes_given,
    stored_levels,
)
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
from generators.base import Conditions, Generator
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings
from generators.memory import lacks_memory

KEPT_CONDITIONS = 256  # prompts whose tensors are remembered; a plan goes prompt by prompt


@dataclass(frozen=True)
class Generated:
    """What one call of `run_plan` did."""

    run_id: str
    planned: int
    already: int
    made: int
    broken: int = 0  # left out: NaN or infinite pixels
    stopped: bool = False  # on request, before the end of the plan
    # of HU that this call made: voxels at the ends of the generator's range, 0 .. 1
    clipped: float | None = None  # mean
    most_clipped: float | None = None  # of one volume


class Maker:
    """One open generator that turns items into pixels.

    Prompts are encoded once; the compute shape is fixed, and halved when memory runs out.
    """

    def __init__(
        self,
        generator: Generator,
        settings: SamplingSettings,
        note: Note,
    ) -> None:
        """Take a generator on its device."""
        self.generator, self.settings, self.note = generator, settings, note
        self._conditions: OrderedDict[str, Conditions] = OrderedDict()
        self.environment = describe_environment(generator.device)

    @property
    def batch_size(self) -> int:
        """Return the compute batch's shape as it is now."""
        return self.settings.batch_size

    def make(self, batch: Batch) -> Pixels:
        """Return the items' pixels in order; a prompt is encoded once for its items in a row.

        Out of memory, the shape is halved for these and all later items. Raises CurateError when
        not even one image has room.
        """
        while True:
            try:
                return self._pixels(batch)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
            # out here the failed batch's tensors are no longer held
            if self.batch_size == 1:
                raise CurateError(
                    f"Not enough memory for even one image on {self.generator.device}. "
                    f"Close other programs that use it, try --dtype bfloat16, or use a "
                    f"larger device."
                )
            halved = self.batch_size // 2
            self.note("out-of-memory", batch_size=self.batch_size, halved_to=halved)
            self.settings = replace(self.settings, batch_size=halved)
            self.environment = describe_environment(
                self.generator.device, compute_batch_size=halved
            )
            gc.collect()
            if self.generator.device.type == "cuda":
                torch.cuda.empty_cache()

    def _pixels(self, batch: Batch) -> Pixels:
        """Encode new prompts and make items, each with those of one shape: masks may differ."""
        known, kind = self._conditions, self.generator.output.kind
        new = [(name, prompt) for name, prompt in batch.prompts.items() if name not in known]
        for places in alike(shapes_given(prompt) for _, prompt in new):
            rows = conditions_of(self.generator, [new[p][1] for p in places], self.settings)
            known |= {new[p][0]: rows.select([row]) for row, p in enumerate(places)}
        conditions = [known[item.prompt_id] for item in batch.items]
        levels: dict[int, Tensor] = {}
        are_finite_B = torch.zeros(len(batch.items), dtype=torch.bool)
        for places in alike(tuple(t.shape for t in one.parts.values()) for one in conditions):
            joined = Conditions.join([conditions[place] for place in places])
            items = [batch.items[place] for place in places]
            seeds = noise_seeds(
                [item.prompt_id for item in items], [item.seed for item in items], self.settings
            )
            with torch.inference_mode():
                images = self.generator.generate(joined, seeds, self.settings)
            are_finite_B = are_finite_B.to(images.device)
            are_finite_B[places] = are_finite(images)
            levels.update(zip(places, stored_levels(images, kind), strict=True))
        while len(known) > KEPT_CONDITIONS:
            known.popitem(last=False)
        return Pixels(
            tuple(levels[place] for place in range(len(batch.items))),
            are_finite_B,
            kind,
            ends_of(self.generator),
            tuple(batch.prompts[item.prompt_id] for item in batch.items),
            self.environment,
        )


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
        record_run(ws, plan)
        return Generated(plan.id, plan.num_items, already, 0)
    watch = Watch(ws.folder, plan.id, planned=plan.num_items, done=already, say=say)
    with ended(watch):
        settings = SamplingSettings.from_json(plan.settings)
        generator = load_version(ws, plan.version_id).to(chosen_device(device))
        maker = Maker(accelerate(generator, settings), settings, watch.note)
        with writing(ws, RunKeeper(ws, plan), watch, advance) as writer:
            stopped = not make_all(batches(ws, plan, watch.note), maker, writer, watch, advance)
    return concluded(ws, plan, already, writer, watch, stopped=stopped, batch_size=maker.batch_size)


def record_run(ws: Workspace, plan: Plan, *, broken: int = 0) -> None:
    """Write to the audit trail how many images of a plan there are now."""
    there = {"images": queries.runs.num_items_done(ws.session, plan), "broken": broken}
    queries.audit.record_result(ws.session, "generate", {"run": plan.id}, there)


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
    patiently(lambda: record_run(ws, plan, broken=broken), ws.session, watch.note)
    if stopped and watch.state.part_of:  # what needs all of them must not go on with some
        raise Stopped(f"Stopped after {watch.state.line()}. The same command goes on.")
    return Generated(
        plan.id,
        plan.num_items,
        already,
        writer.num_new,
        broken,
        stopped,
        writer.clipped.mean,
        writer.clipped.most,
    )


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
    except (KeyboardInterrupt, Stopped):
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
