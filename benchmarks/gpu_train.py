"""Training in Stable Diffusion 1.5's shape at 512 px on a GPU: images a second, and the memory.

    python -m benchmarks.gpu_train [--batch-size 16] [--micro-batch 16] [--steps 30]
                                   [--checkpointing] [--lora-rank 0] [--tiny]

Random weights and latents: speed and memory do not depend on what is learned. The steps are those
of `curate train-generator --dtype bfloat16`: autocast to bfloat16, weights, moments and moving
averages (EMA) in float32, clipped gradients, min-SNR weights, text embeddings from the cache. The
first steps are not counted. Encoding images to latents happens once a data set, and is not counted
either. Without a GPU it says so; `--tiny` proves on any machine that the script works.
"""

import argparse
import statistics
from pathlib import Path

import torch

from benchmarks.gpu_generate import device_name, measure_on_gpu, options_of, shape
from generators.base import Prompt
from generators.diffusion.generator import DiffusionGenerator
from generators.training.checkpoint import CHECKPOINT
from generators.training.config import TrainingConfig
from generators.training.history import History
from generators.training.lesson import Example, Lesson, Pool
from generators.training.loop import train

NUM_IMAGES = 64
TEXTS = ("drusen", "normal")
WARM_UP = 5  # steps: allocations, the choice of kernels


def lesson_for(generator: DiffusionGenerator) -> Lesson:
    """Return random latents with texts; there is nothing to learn from them."""
    source = torch.Generator().manual_seed(0)
    latents = {
        str(number): torch.randn(*generator.latent_shape, generator=source)
        for number in range(NUM_IMAGES)
    }
    examples = [
        Example(image, Prompt("OCT", TEXTS[number % len(TEXTS)]), "OCT")
        for number, image in enumerate(latents)
    ]
    return Lesson(
        pools=[Pool(examples)],
        validation=[],
        latents=latents.__getitem__,
        embed=lambda prompt: generator.conditioner([prompt]),
    )


class Clock:
    """Notes the seconds of every step; a step ends when the device has its loss."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._before = 0.0

    def __call__(self, history: History) -> None:
        """Take the last step's own seconds."""
        self.seconds.append(history.seconds - self._before)
        self._before = history.seconds


def measure(options: argparse.Namespace, folder: Path) -> None:
    generator, clock = shape(tiny=options.tiny), Clock()
    num_steps = WARM_UP + options.steps
    config = TrainingConfig(
        num_steps=num_steps,
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        dtype="bfloat16",
        gradient_checkpointing=options.checkpointing,
        lora_rank=options.lora_rank,
        checkpoint_every=num_steps,
        validate_every=num_steps,
    )
    trained = train(generator, lesson_for(generator), config, folder=folder, report=clock)
    num_weights = sum(weight.numel() for weight in trained.weights.named.values())
    rates = [options.batch_size / seconds for seconds in clock.seconds[WARM_UP:]]
    print(
        f"{device_name()}: {num_weights / 1e6:.3g} M weights trained, {len(rates)} steps of "
        f"{options.batch_size} images, {options.micro_batch} a pass"
    )
    median = statistics.median(rates)
    print(f"{median:.2f} images/s ({min(rates):.2f}-{max(rates):.2f} in single steps)")
    print(f"checkpoint {(folder / CHECKPOINT).stat().st_size / 1e9:.2g} GB")
    if torch.cuda.is_available():
        print(
            f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB allocated, "
            f"{torch.cuda.max_memory_reserved() / 1e9:.1f} GB reserved"
        )


def main() -> None:
    """Read the options and measure, where there is a GPU."""
    parser = options_of(__doc__)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--lora-rank", type=int, default=0)
    measure_on_gpu(parser, measure)


if __name__ == "__main__":
    main()
