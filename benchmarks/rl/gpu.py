"""The RL step in Stable Diffusion 1.5's shape at 512 px on a GPU, against TRL 0.23.1 in one run.

    python -m benchmarks.rl.gpu [--blocks 5] [--epochs 1] [--train-batch 4] [--tiny] [--json FILE]

Random weights, adapters of rank 4 on the attention, 16 images of 10 steps an epoch, bfloat16 in
rollout and training, a reward that costs nothing. Question A: `ddpo` with guidance against TRL with
it, goal 2.5; question B: `window` without guidance against TRL with it, goal 10. Arms run one after
the other, never two at once, in interleaved blocks; each has a model of its own. Shown as well: the
share of the card's own matrix rate (a bfloat16 product of 8192 x 8192, measured here) and each
arm's peak memory. That both compute the same is what `speed.py` checks. Needs the extra `[trl]`.
Without a GPU it says so; `--tiny` proves on any machine that the script works.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_generate import device, device_name, matrix_rate, shape, timed
from benchmarks.rl.speed import (
    GUIDANCE,
    Arm,
    evaluations,
    flops_of_forward,
    our_arm,
    ratios,
    run_epochs,
    settings,
    trl_arm,
)
from generators.diffusion.generator import DiffusionGenerator
from generators.rl.config import RLConfig

NUM_IMAGES = 16  # an epoch
GOALS = {"A: ours ddpo / trl, guided": 2.5, "B: ours window plain / trl guided": 10.0}


def in_bfloat16(algorithm: str, guidance: float) -> RLConfig:
    config = settings(algorithm, guidance)
    return replace(config, rollout_dtype="bfloat16", training_dtype="bfloat16")


def arms_on(
    new_generator: Callable[[], DiffusionGenerator], folder: Path, train_batch: int
) -> dict[str, Arm]:
    """Return the three that are compared."""
    guided = in_bfloat16("ddpo", GUIDANCE)
    arms = [
        trl_arm(new_generator(), guided, folder, train_batch),
        our_arm(new_generator(), guided),
        our_arm(new_generator(), in_bfloat16("window", 1.0)),
    ]
    return {arm.name: arm for arm in arms}


def peak_gb(run: Callable[[], object]) -> float | None:
    """Run once; return the most memory that was held meanwhile, all arms' weights included."""
    if not torch.cuda.is_available():
        run()
        return None
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 1e9


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    def new_generator() -> DiffusionGenerator:
        return shape(tiny=options.tiny).to(device())

    arms = arms_on(new_generator, folder, options.train_batch)
    memory = {name: peak_gb(arm.epoch) for name, arm in arms.items()}  # and warm
    blocks: list[dict[str, Any]] = []
    for _ in range(options.blocks):
        seconds = {
            name: timed(partial(run_epochs, arm, options.epochs)) for name, arm in arms.items()
        }
        rates = {name: NUM_IMAGES * options.epochs / value for name, value in seconds.items()}
        blocks.append({"images_per_second": rates})
    theirs, ddpo, window = arms
    flop, peak = flops_of_forward(new_generator()), matrix_rate(256 if options.tiny else 8192)
    best = {n: max(block["images_per_second"][n] for block in blocks) for n in arms}
    return {
        "device": device_name(),
        "matrix_rate_tflops": peak / 1e12,
        "A: ours ddpo / trl, guided": ratios(blocks, ddpo, theirs),
        "B: ours window plain / trl guided": ratios(blocks, window, theirs),
        "goals": GOALS,
        "best_images_per_second": best,
        "share_of_matrix_rate": {n: best[n] * evaluations(arms[n]) * flop / peak for n in arms},
        "peak_memory_gb": memory,
        "blocks": blocks,
    }


def main() -> None:
    """Read the options and measure, where there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1, help="of 16 images, a block")
    parser.add_argument("--train-batch", type=int, default=4, help="TRL's, in images")
    parser.add_argument("--tiny", action="store_true", help="prove the script, on any machine")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print("No NVIDIA GPU here: nothing was measured.")
        sys.exit(0)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        told = json.dumps(measure(options, Path(folder)), indent=2)
    if options.json:
        options.json.write_text(told + "\n", encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
