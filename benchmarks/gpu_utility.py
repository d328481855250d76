"""Networks of the published size that learn to measure, on a GPU: seconds a step, and the memory.

    python -m benchmarks.gpu_utility [--steps 50] [--tiny]

Swin-T and DenseNet-121 at 224 pixels as `curate utility classify` trains them, DenseNet-121 as
`curate utility ssl` does, GPT-2 (12 layers, untrained) as `curate utility report` does, each on
random images, features and texts: speed and memory do not depend on what is learned. Without a GPU
it says so; `--tiny` proves on any machine, with the small networks, that the script works.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu_generate import device_name, measure_on_gpu, options_of, timed
from curate.evaluation.classifiers import ClassExamples, Classifier
from rewards.captioner import new_captioner, train_captioner
from rewards.self_supervised import learn_without_labels, new_encoder

NUM_IMAGES, NUM_CLASSES, NUM_FEATURES = 128, 4, 512
WARM_UP = 3  # steps: allocations, the choice of kernels
Learn = Callable[[int], object]  # so many steps


def lessons(*, tiny: bool) -> dict[str, Learn]:
    """Return what is learned, by name."""
    source = torch.Generator().manual_seed(0)
    images_N3HW = torch.rand(NUM_IMAGES, 3, 64, 64, generator=source)
    classes_N = torch.randint(NUM_CLASSES, (NUM_IMAGES,), generator=source)
    features_ND = torch.randn(NUM_IMAGES, NUM_FEATURES, generator=source)
    words = [f"word{number}" for number in range(200)]
    texts = [[words[(7 * at + 3 * place) % 200] for place in range(30)] for at in range(NUM_IMAGES)]

    def classifies(name: str) -> Learn:
        examples = ClassExamples(images_N3HW, classes_N)
        return lambda steps: Classifier(name, steps).fit(examples, NUM_CLASSES, seed=0)

    def without_labels(name: str) -> Learn:
        return lambda steps: learn_without_labels(
            new_encoder(name, seed=0), images_N3HW, steps=steps, seed=0
        )

    def captions(name: str) -> Learn:
        def learn(steps: int) -> None:
            captioner = new_captioner(name, texts, NUM_FEATURES, seed=0)
            train_captioner(captioner, features_ND, texts, steps=steps, seed=0)
            captioner.say(features_ND[:2])

        return learn

    if tiny:
        return {
            "cnn": classifies("cnn"),
            "densenet-tiny without labels": without_labels("densenet-tiny"),
            "tiny captioner": captions("tiny"),
        }
    return {
        "Swin-T": classifies("torchvision/swin_t"),
        "DenseNet-121": classifies("torchvision/densenet121"),
        "DenseNet-121 without labels": without_labels("torchvision/densenet121"),
        "GPT-2": captions("gpt2"),
    }


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Print a line for each network."""
    print(device_name())
    for name, learn in lessons(tiny=options.tiny).items():
        learn(WARM_UP)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        short, whole = (timed(partial(learn, WARM_UP + more)) for more in (0, options.steps))
        memory = (
            f", peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
            if torch.cuda.is_available()
            else ""
        )
        print(f"{name}: {1000 * (whole - short) / options.steps:.1f} ms a step{memory}")


def main() -> None:
    """Read the options and measure, where there is a GPU."""
    parser = options_of(__doc__)
    parser.add_argument("--steps", type=int, default=50)
    measure_on_gpu(parser, measure)


if __name__ == "__main__":
    main()
