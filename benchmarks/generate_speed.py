"""How near is mass production to the bare networks, and how far ahead of the ways it replaces?

    python -m benchmarks.generate_speed [--images 1024] [--blocks 8] [--batch-size 16] [--steps 10]
                                        [--threads 2]

The embedded model, 64 px, no guidance, DDIM, float32, the same number of steps for all. They take
turns, block by block, in one process; medians over blocks, of ratios within blocks. Beside the
rates stand the processor's own seconds an image, of all threads: on a machine that others use
they say more than the clock does.


- bare: U-Net and decoder calls alone, at the same batch shape; no scheduler, nothing kept
- curate: what `curate generate` does, rows and files included; opening the model is printed apart
- single: diffusers' pipeline, one image a call
- batched: diffusers' pipeline, the same batches, as its documentation recommends for many images
- minim: one image a call of 100 steps, as MINIM's script ships; its factor is split into the steps
  (100 : --steps) and the batching

Bars, by the clock: curate / bare >= 0.95; curate / single >= 1.3; curate / batched >= 1.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.production.keeping import RunKeeper
from curate.production.plan import plan_run
from curate.production.run import Maker, batches, make_all, writing
from curate.production.versions import embedded_version, load_version
from curate.production.watch import Watch
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import GeneratorVersion
from generators.acceleration import accelerate
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator
from generators.diffusion.samplers import initial_noise
from generators.embedded import WEIGHTS

TEXTS = ("drusen", "normal")
MINIM_STEPS = 100
SINGLES = 8  # images a block of the slow contestants


def bare(generator: DiffusionGenerator, settings: SamplingSettings, num_images: int) -> None:
    """Call the networks as often as the images need, and nothing else."""
    size = settings.batch_size
    prompts = [Prompt("OCT", TEXTS[i % len(TEXTS)]) for i in range(size)]
    conditions = generator.conditioner(prompts)
    timesteps = generator.process.timesteps(settings.num_steps)
    x_t = initial_noise(range(size), generator.latent_shape)
    with torch.inference_mode():
        for _ in range(num_images // size):
            for t in timesteps:
                generator.denoiser(x_t, torch.full((size,), t), conditions)
            generator.codec.decode(x_t)


class Production:
    """What `curate generate` does after the model is open, on seeds that are new in each block."""

    def __init__(
        self,
        ws: Workspace,
        settings: SamplingSettings,
        *,
        version: GeneratorVersion | None = None,
        device: str = "cpu",
    ) -> None:
        self.ws, self.settings, self.first_seed = ws, settings, 0
        self.version = version or embedded_version(ws)
        self.prompts = [
            queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=text)
            for text in TEXTS
        ]
        started = time.perf_counter()
        self.generator = accelerate(load_version(ws, self.version.id).to(device), settings)
        self.start_s = time.perf_counter() - started

    def __call__(self, num_images: int) -> None:
        """Plan, make and keep so many images; all is durable on return."""
        each = num_images // len(self.prompts)
        run = plan_run(
            self.ws,
            self.version,
            self.prompts,
            count=each,
            first_seed=self.first_seed,
            settings=self.settings,
        )
        self.first_seed += each
        self.ws.session.commit()
        watch = Watch(self.ws.folder, run.id, planned=run.num_items, done=0)
        maker = Maker(self.generator, self.settings, watch.note)
        keeper = RunKeeper(self.ws, run)
        with writing(self.ws, keeper, watch, lambda done: None) as writer:
            make_all(batches(self.ws, run, watch.note), maker, writer, watch, lambda done: None)
        assert writer.num_new == num_images


def pipeline() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = StableDiffusionPipeline.from_pretrained(WEIGHTS, safety_checker=None)
    opened.scheduler = DDIMScheduler.from_config(opened.scheduler.config)
    opened.set_progress_bar_config(disable=True)
    return opened


def piped(opened: Any, steps: int, batch_size: int, num_images: int) -> None:
    for start in range(0, num_images, batch_size):
        texts = [f"OCT {TEXTS[(start + i) % len(TEXTS)]}" for i in range(batch_size)]
        opened(texts, num_inference_steps=steps, guidance_scale=1.0, output_type="pil")


@dataclass(frozen=True)
class Block:
    """What a contestant took for some images."""

    images_per_second: float
    processor_s: float  # of all threads, an image


def timed(call: Callable[[int], None], num_images: int) -> Block:
    processor, started = time.process_time(), time.perf_counter()
    call(num_images)
    seconds = time.perf_counter() - started
    return Block(num_images / seconds, (time.process_time() - processor) / num_images)


def measure(ws: Workspace, options: argparse.Namespace) -> dict[str, list[Block]]:
    settings = SamplingSettings(num_steps=options.steps, batch_size=options.batch_size)
    production, stock = Production(ws, settings), pipeline()
    print(f"start, not counted: the model opened in {production.start_s:.1f} s")
    block = max(1, options.images // options.blocks // options.batch_size) * options.batch_size
    singles = min(SINGLES, block)
    generator = production.generator
    assert isinstance(generator, DiffusionGenerator)  # the shipped model
    contestants: dict[str, tuple[Callable[[int], None], int]] = {
        "bare": (lambda n: bare(generator, settings, n), block),
        "curate": (production, block),
        "batched": (lambda n: piped(stock, options.steps, options.batch_size, n), block),
        "single": (lambda n: piped(stock, options.steps, 1, n), singles),
        "minim": (lambda n: piped(stock, MINIM_STEPS, 1, n), max(1, singles // 4)),
    }
    for name, (call, _) in contestants.items():  # warm: allocations, caches of embeddings
        call(1 if name in ("single", "minim") else options.batch_size)
    blocks: dict[str, list[Block]] = {name: [] for name in contestants}
    for _ in range(options.blocks):
        for name, (call, num_images) in contestants.items():
            blocks[name].append(timed(call, num_images))
    print(f"{options.blocks} blocks of {block} images, batches of {options.batch_size}")
    return blocks


def show(blocks: dict[str, list[Block]], steps: int) -> None:
    for name, found in blocks.items():
        rates = [block.images_per_second for block in found]
        processor = statistics.median(block.processor_s for block in found)
        print(
            f"{name:<8} {statistics.median(rates):8.2f} images/s {_range(rates)}, "
            f"{processor * 1000:7.1f} ms of processor an image"
        )
    bars = {"bare": 0.95, "batched": 1.0, "single": 1.3, "minim": None}
    for name, bar in bars.items():
        by_clock, by_processor = ratios(blocks["curate"], blocks[name])
        ratio = statistics.median(by_clock)
        verdict = "" if bar is None else f"  bar {bar}: {'met' if ratio >= bar else 'NOT met'}"
        print(
            f"curate / {name:<8} {ratio:6.3f} {_range(by_clock)}, by processor time "
            f"{statistics.median(by_processor):6.3f} {_range(by_processor)}{verdict}"
        )
    by_steps, _ = ratios(blocks["single"], blocks["minim"])
    by_batches, _ = ratios(blocks["curate"], blocks["single"])
    print(
        f"of curate / minim, fewer steps ({MINIM_STEPS} : {steps}) give "
        f"{statistics.median(by_steps):.2f}x, batching {statistics.median(by_batches):.2f}x"
    )


def ratios(ours: list[Block], theirs: list[Block]) -> tuple[list[float], list[float]]:
    """Return how much faster ours are, block by block: by the clock, and by processor time."""
    pairs = list(zip(ours, theirs, strict=True))
    return (
        [a.images_per_second / b.images_per_second for a, b in pairs],
        [b.processor_s / a.processor_s for a, b in pairs],
    )


def _range(values: list[float]) -> str:
    return f"({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """Read the options, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        init_workspace(folder)
        with open_workspace(Path(folder)) as ws:
            show(measure(ws, options), options.steps)


if __name__ == "__main__":
    main()
