"""How fast are images kept, with a generator that costs nothing? And how does a million feel?

    python -m benchmarks.store_rate [--images 4000] [--memory-images 10000 100000]
                                    [--million FOLDER] [--work FOLDER]

1. Rate: 64 px images planned, encoded, hashed, written and recorded by the parts that `curate
   generate` uses; beside it the limit: the same images encoded and synced to the same disk, one
   batch being encoded while the one before is synced, with nothing hashed twice and nothing
   recorded. Interleaved, medians; also the processor's seconds an image, which other work on the
   machine does not change. Bar: 2,000 images/s or the limit, whichever is lower.
2. Memory: the peak of a process that keeps few and many images of 16 px. Bar: flat.
3. Resume: a workspace of 990,000 images in one run, all done, then 100 of them removed: the time
   until the first missing item is known, and until all are. Bar: 5 s. FOLDER is kept.
"""

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sqlalchemy as sa
import torch
import torch.nn.functional as F

from benchmarks.status_at_a_million import add_parents, fill
from curate.production.environment import describe_environment
from curate.production.images import Pixels
from curate.production.keeping import RunKeeper
from curate.production.plan import Plan, batches_of, missing_items, plan_run
from curate.production.run import writing
from curate.production.versions import save_version
from curate.production.watch import Watch
from curate.production.writer import FLUSH_IMAGES
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.store import LocalStore
from generators.base import Prompt as PromptValue
from generators.config import SamplingSettings

BATCH = 64
REPEATS = 5


def pictures(size: int, number: int) -> torch.Tensor:
    """Return smooth pictures with a little grain, uint8 [number, size, size, 3]: PNG-like work."""
    source = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 8, 8, generator=source)
    smooth = F.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    grain = 0.03 * torch.randn(smooth.shape, generator=source)
    return ((smooth + grain).clamp(0, 1) * 255).byte()


class NullGenerator:
    """Gives pixels at once; every image has some bytes of its own, so that every file is new."""

    def __init__(self, size: int) -> None:
        self.levels = pictures(size, BATCH)
        self.environment = describe_environment()

    def make(self, seeds: list[int]) -> Pixels:
        """Return pixels for these seeds, each with its own first eight bytes."""
        levels = self.levels[: len(seeds)].clone()
        names = np.array(seeds, dtype="<u8").view(np.uint8).reshape(-1, 8)
        levels.view(len(seeds), -1)[:, :8] = torch.from_numpy(names)
        are_finite_B = torch.ones(len(seeds), dtype=torch.bool)
        prompts = (PromptValue("OCT", "drusen"),) * len(seeds)
        return Pixels(tuple(levels), are_finite_B, "intensity", None, prompts, self.environment)


@contextmanager
def workspace(folder: Path) -> Iterator[Workspace]:
    init_workspace(folder)
    with open_workspace(folder) as ws:
        yield ws


def planned(ws: Workspace, count: int, first_seed: int = 0) -> Plan:
    folder = ws.folder / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "nothing.json").write_text("{}")
    version = save_version(ws, folder, generator_name="null", family="null", how_made="imported")
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="drusen")
    settings = SamplingSettings(batch_size=BATCH)
    return plan_run(ws, version, [prompt], count=count, first_seed=first_seed, settings=settings)


def keep_images(ws: Workspace, run: Plan, generator: NullGenerator) -> float:
    """Plan, encode, hash, write and record the run's images; return images a second."""
    ws.session.commit()
    watch = Watch(ws.folder, run.id, planned=run.num_items, done=0)
    started = time.perf_counter()
    with writing(ws, RunKeeper(ws, run), watch, lambda done: None) as writer:
        for batch in batches_of(missing_items(ws, run), BATCH):
            writer.add(batch, generator.make([item.seed for item in batch]))
    watch.end("finished", made=writer.num_new)
    assert writer.num_new == run.num_items
    return run.num_items / (time.perf_counter() - started)


def limit(folder: Path, count: int, first_seed: int, generator: NullGenerator) -> float:
    """Encode and sync as many images to the same disk, and do nothing else; images a second."""
    store = LocalStore(folder / "limit")
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as encoders, ThreadPoolExecutor(1) as syncer:
        synced: Future[list[str]] | None = None
        for start in range(0, count, FLUSH_IMAGES):
            seeds = list(range(first_seed + start, first_seed + min(start + FLUSH_IMAGES, count)))
            parts = [seeds[i : i + BATCH] for i in range(0, len(seeds), BATCH)]
            made = [levels.numpy() for part in parts for levels in generator.make(part).levels]
            arrays = [np.moveaxis(array, 0, -1) for array in made]
            encoded = list(encoders.map(png_bytes, arrays))
            if synced is not None:
                synced.result()
            synced = syncer.submit(store.put_many, encoded)
    return count / (time.perf_counter() - started)


def show_rate(folder: Path, count: int) -> None:
    generator = NullGenerator(64)
    found: dict[str, list[float]] = {"kept": [], "limit": []}
    processor: dict[str, list[float]] = {"kept": [], "limit": []}
    with workspace(folder) as ws:
        calls: dict[str, Callable[[int], float]] = {
            "kept": lambda repeat: keep_images(ws, planned(ws, count, repeat * count), generator),
            "limit": lambda repeat: limit(folder, count, 10**9 + repeat * count, generator),
        }
        for repeat in range(REPEATS):
            for name, call in calls.items():
                started = time.process_time()
                found[name].append(call(repeat))
                processor[name].append((time.process_time() - started) / count * 1000)
    ratios = [ours / theirs for ours, theirs in zip(found["kept"], found["limit"], strict=True)]
    print(f"{REPEATS} x {count} images of 64 px")
    print(
        f"planned, encoded, hashed, written, recorded: {spread(found['kept'])} images/s, "
        f"{spread(processor['kept'])} ms of processor each"
    )
    print(
        f"limit, encoded and synced only: {spread(found['limit'])} images/s, "
        f"{spread(processor['limit'])} ms of processor each; share {spread(ratios)}"
    )


def spread(values: list[float]) -> str:
    digits = 2 if max(values) < 10 else 0
    return (
        f"{statistics.median(values):,.{digits}f} "
        f"({min(values):,.{digits}f}-{max(values):,.{digits}f})"
    )


def show_memory(folder: Path, counts: list[int]) -> None:
    """Each count in a process of its own: a peak cannot be taken back."""
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.store_rate", "--keep", str(count)]
        command += ["--work", str(folder / f"memory-{count}")]
        print(subprocess.check_output(command, text=True).strip())


def show_own_peak(folder: Path, count: int) -> None:
    with workspace(folder) as ws:
        rate = keep_images(ws, planned(ws, count), NullGenerator(16))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:>9,} images of 16 px: peak {peak_mb:.0f} MB, {rate:,.0f} images/s")


def show_resume(folder: Path) -> None:
    if not (folder / "curate.json").exists():
        init_workspace(folder)
        fill(folder / "curate.db", add_parents(folder))
    with open_workspace(folder) as ws:
        run = queries.runs.last_run(ws.session)
        assert run is not None
        for number in (0, 100):
            remove(ws, run, number)
            print(f"{run.num_items:,} items planned, {number} missing: {timed_look(ws, run)}")


def remove(ws: Workspace, run: Plan, number: int) -> None:
    """Take images out again, among those that have no rating."""
    places = random.Random(0).sample(range(run.num_items // 2, run.num_items), number)
    connection = ws.session.connection()
    for place in places:
        image = "SELECT id FROM image WHERE run_id = :run AND run_index = :place"
        values = {"run": run.id, "place": place}
        connection.execute(sa.text(f"DELETE FROM score WHERE image_id IN ({image})"), values)
        connection.execute(sa.text(f"DELETE FROM image WHERE id IN ({image})"), values)
    ws.session.commit()


def timed_look(ws: Workspace, run: Plan) -> str:
    started = time.perf_counter()
    done = queries.runs.num_items_done(ws.session, run)
    items = missing_items(ws, run)
    first = next(items, None)
    until_first = time.perf_counter() - started
    number = sum(1 for _ in items) + (first is not None)
    until_all = time.perf_counter() - started
    return f"first after {until_first:.2f} s, all {number} after {until_all:.2f} s ({done:,} done)"


def main() -> None:
    """Read the options and measure what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--memory-images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--million", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.work and options.work.parent))
    try:
        if options.keep:
            show_own_peak(work, options.keep)
            return
        if options.images:
            show_rate(work / "rate", options.images)
        show_memory(work, options.memory_images)
        if options.million:
            show_resume(options.million)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
