"""Two Ray workers of one core each, against two bare processes of one core each.

    python -m benchmarks.ray_speed [--images 512] [--batch-size 16] [--steps 10] [--blocks 3]

The embedded model, the same images' worth of work for both, in turns. The bare processes call
U-Net and decoder and nothing else, from the moment both have opened the model; Ray's rate is taken
from its first kept image to its last, so starting the cluster counts for neither. Bar: 0.9.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from generators.config import SamplingSettings

NUM_WORKERS = 2


def bare_worker(settings: SamplingSettings, num_images: int, start: Any, seconds: Any) -> None:
    """Open the model, wait for the other, work, report."""
    import torch

    from benchmarks.generate_speed import bare
    from generators import registry
    from generators.embedded import WEIGHTS

    torch.set_num_threads(1)
    generator = registry.load("text-to-image", WEIGHTS)
    bare(generator, settings, settings.batch_size)  # warm
    start.wait()
    started = time.perf_counter()
    bare(generator, settings, num_images)
    seconds.put(time.perf_counter() - started)


def bare_rate(settings: SamplingSettings, num_images: int) -> float:
    processes = multiprocessing.get_context("spawn")
    start, seconds = processes.Barrier(NUM_WORKERS), processes.Queue()
    share = num_images // NUM_WORKERS
    workers = [
        processes.Process(target=bare_worker, args=(settings, share, start, seconds))
        for _ in range(NUM_WORKERS)
    ]
    for worker in workers:
        worker.start()
    slowest = max(seconds.get() for _ in workers)
    for worker in workers:
        worker.join()
    return num_images / slowest


def ray_rate(ws: Workspace, settings: SamplingSettings, num_images: int, first_seed: int) -> float:
    from curate.cluster.generate import run_plan_on_ray
    from curate.generate import plan_run
    from curate.generators_store import embedded_version

    prompt = queries.get_or_add_prompt(ws.session, modality="OCT", text="drusen")
    run = plan_run(
        ws,
        embedded_version(ws),
        [prompt],
        count=num_images,
        first_seed=first_seed,
        settings=settings,
    )
    kept: list[tuple[float, int]] = []

    def advance(number: int) -> None:
        if number:
            kept.append((time.perf_counter(), number))

    run_plan_on_ray(ws, run, advance, address="local")
    (first, before), (last, _) = kept[0], kept[-1]
    return (num_images - before) / (last - first)


def main() -> None:
    """Read the options, measure in turns, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    settings = SamplingSettings(num_steps=options.steps, batch_size=options.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(Path(folder)) as ws:
            ratios = []
            for block in range(options.blocks):
                shared = ray_rate(ws, settings, options.images, block * options.images)
                alone = bare_rate(settings, options.images)
                ratios.append(shared / alone)
                print(f"Ray {shared:.2f} images/s, bare {alone:.2f} images/s")
    print(f"Ray / bare: {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


if __name__ == "__main__":
    main()
