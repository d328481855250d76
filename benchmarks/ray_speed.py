"""Two Ray workers of one core each, against two bare processes of one core each, in one run.

    python -m benchmarks.ray_speed [--images 192] [--batch-size 16] [--steps 10] [--blocks 3]

The embedded model, as many images for both. One `run_plan_on_ray`, files and rows included; after
each block of its images it waits while two bare processes, which were started beside it and call
U-Net and decoder and nothing else, do their block. Ray's rate counts from when all that was made
before the block is kept; opening the models counts for neither. Median of ratios within blocks.
Bar: 0.9.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from curate.cluster.crew import TASKS_A_WORKER
from curate.production.plan import Plan
from curate.production.watch import ask
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.config import SamplingSettings

NUM_WORKERS = 2
SETTLE_S = 5.0  # Ray's workers finish what they were given before the others begin
SPARE_BLOCKS = 2  # images a block may lose before its first and after its last batch


def bare_worker(settings: SamplingSettings, num_images: int, start: Any, seconds: Any) -> None:
    """Open the model; for each block wait for the other, work, report."""
    import torch

    from benchmarks.generate_speed import bare
    from generators import registry
    from generators.embedded import WEIGHTS

    torch.set_num_threads(1)
    generator = registry.load("text-to-image", WEIGHTS)
    bare(generator, settings, settings.batch_size)  # warm
    while True:
        start.wait()
        started = time.perf_counter()
        bare(generator, settings, num_images)
        seconds.put(time.perf_counter() - started)


class BareProcesses:
    """Processes that call the networks, block by block."""

    def __init__(self, settings: SamplingSettings, num_images: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._num_images = num_images
        self._start, self._seconds = context.Barrier(NUM_WORKERS + 1), context.Queue()
        given = (settings, num_images // NUM_WORKERS, self._start, self._seconds)
        self._workers = [
            context.Process(target=bare_worker, args=given, daemon=True) for _ in range(NUM_WORKERS)
        ]
        for worker in self._workers:
            worker.start()

    def rate(self) -> float:
        """Return images a second of one block."""
        self._start.wait()
        return self._num_images / max(self._seconds.get() for _ in self._workers)

    def end(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.kill()


class Turns:
    """Told of every image that Ray has made and kept; lets the others work after each block."""

    def __init__(self, ws: Workspace, run: Plan, bare: BareProcesses, options: Any) -> None:
        self._ws, self._run, self._bare, self._options = ws, run, bare, options
        self._num_left_over = NUM_WORKERS * TASKS_A_WORKER * options.batch_size
        self._begin_block()
        self.ratios: list[float] = []

    def _begin_block(self) -> None:
        self._first: float | None = None  # when what was made before the block is kept
        self._num_kept = 0

    def __call__(self, number: int) -> None:
        """Take note of images that were kept."""
        self._num_kept += number
        if not number or len(self.ratios) == self._options.blocks:
            return
        if self._first is None:
            if self._num_kept >= self._num_left_over:
                self._first, self._num_kept = time.perf_counter(), 0
        elif self._num_kept >= self._options.images:
            self._end_block(self._num_kept / (time.perf_counter() - self._first))

    def _end_block(self, shared: float) -> None:
        time.sleep(SETTLE_S)
        alone = self._bare.rate()
        self.ratios.append(shared / alone)
        print(f"Ray {shared:.2f} images/s, bare {alone:.2f} images/s", flush=True)
        self._begin_block()
        if len(self.ratios) == self._options.blocks:
            ask(self._ws.folder, self._run.id, "stop")


def measured(ws: Workspace, options: argparse.Namespace) -> list[float]:
    """Return Ray's share of the bare rate, block by block."""
    from curate.cluster.generate import run_plan_on_ray
    from curate.production.plan import plan_run
    from curate.production.versions import embedded_version

    settings = SamplingSettings(num_steps=options.steps, batch_size=options.batch_size)
    prompt = queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text="drusen")
    count = options.blocks * SPARE_BLOCKS * options.images
    run = plan_run(ws, embedded_version(ws), [prompt], count=count, settings=settings)
    bare = BareProcesses(settings, options.images)
    turns = Turns(ws, run, bare, options)
    try:
        run_plan_on_ray(ws, run, turns, address="local")
    finally:
        bare.end()
    return turns.ratios


def main() -> None:
    """Read the options, measure in turns, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=192, help="a block")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["RAY_worker_niceness"] = "0"  # Ray would let its workers yield to the bare processes
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(Path(folder)) as ws:
            ratios = measured(ws, options)
    print(f"Ray / bare: {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


if __name__ == "__main__":
    main()
