"""Embedded generators side by side, by a network that had no part in any of them.

    python -m benchmarks.outside_eye DATA WEIGHTS [WEIGHTS ...] [--per-prompt 40] [--sheet DIR]

Real images of the patients set aside (and the validation rows) on one side, each generator's images
at curate's default settings on the other; EfficientNet-Lite0 with ImageNet weights sees both at 128
pixels. A generator's images are drawn 12 times to match the real ones' findings, class by class;
medians with the draws' 2.5 and 97.5 percentiles. Beside every generator: the real train images, and
the real images through its autoencoder. Detail is the energy of the Laplacian at the generator's
own size. The label classifier is linear, trained on the train patients. Needs `[train-embedded]`.
Prints one JSON object.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.embedded_generator import ImageNetFeatures, contact_sheet, new_classifier
from benchmarks.rl_trials import laplacian_energy
from curate.evaluation.fidelity import bounded_mmd, manifolds, squared_mmd
from generators import registry
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from recipes.embedded_model.data import PHRASES, SIZE, RealImage, central_square, load_real_images

NUM_DRAWS = 12
Class = tuple[str, str]  # modality, label


class RealSide:
    """The real images: what a classifier learns from, and what everything is held against."""

    def __init__(self, data: Path, see: ImageNetFeatures) -> None:
        """Read and look at them once."""
        everything = load_real_images(data)
        self.train = [image for image in everything if image.split == "train"]
        classes = Counter((i.modality, i.label) for i in self.train)
        self.held = [
            i for i in everything if i.split != "train" and classes[i.modality, i.label] >= 10
        ]
        self.train_pixels, self.pixels = squares(self.train), squares(self.held)
        self.train_features = torch.from_numpy(see(self.train_pixels))
        self.features = torch.from_numpy(see(self.pixels))
        self.readers = {}  # by source: only findings of one source are told from one another
        for source in sorted({image.source for image in self.train}):
            rows = [row for row, image in enumerate(self.train) if image.source == source]
            labels = [self.train[row].label for row in rows]
            if len(set(labels)) > 1:
                reader = new_classifier().fit(self.train_features[rows].numpy(), labels)
                self.readers[source] = reader
        self.source_of = {(i.modality, i.label): i.source for i in self.train}

    def read(self, features_ND: Tensor, asked: list[Class]) -> dict[str, Any]:
        """Return how often the asked finding is read: by class, and the mean over classes."""
        hits: dict[Class, list[bool]] = defaultdict(list)
        for source, reader in self.readers.items():
            rows = [row for row, one in enumerate(asked) if self.source_of[one] == source]
            if rows:
                said = reader.predict(features_ND[rows].numpy())
                for row, label in zip(rows, said, strict=True):
                    hits[asked[row]].append(label == asked[row][1])
        by_class = {" ".join(one): [float(np.mean(h)), len(h)] for one, h in sorted(hits.items())}
        return {"mean of classes": float(np.mean([s for s, _ in by_class.values()]))} | by_class


def squares(images: list[RealImage]) -> Tensor:
    """Return the central squares [B, 3, SIZE, SIZE] in [0, 1]."""
    return torch.stack([central_square(image) for image in images]) / 2 + 0.5


@torch.inference_mode()
def make(generator: DiffusionGenerator, asked: list[Class], options: argparse.Namespace) -> Tensor:
    """Return one image a request, each with noise of its own."""
    settings = SamplingSettings(num_steps=options.steps, guidance=options.guidance)
    prompts = [Prompt(modality, PHRASES[label][0], label) for modality, label in asked]
    parts = []
    for start in range(0, len(prompts), 64):
        some = prompts[start : start + 64]
        seeds = list(range(start, start + len(some)))
        parts.append(
            decode(generator, sample(generator, generator.conditioner(some), seeds, settings), 32)
        )
    return torch.cat(parts)


@torch.inference_mode()
def recoded(generator: DiffusionGenerator, pixels: Tensor, side: int) -> Tensor:
    """Return real images through the generator's autoencoder."""
    small = functional.interpolate(pixels, side, mode="bicubic", antialias=True).clamp(0, 1)
    codec = generator.codec
    return torch.cat([codec.decode(codec.encode(part)) for part in small.split(32)])


def matched(asked: list[Class], wanted: list[Class], random: np.random.Generator) -> list[int]:
    """Draw a place among `asked` for each wanted class; twice only where there are too few."""
    pools: dict[Class, list[int]] = defaultdict(list)
    for place, one in enumerate(asked):
        pools[one].append(place)
    queues = {one: list(random.permutation(pool)) for one, pool in pools.items()}
    drawn = []
    for one in wanted:
        if not queues[one]:
            queues[one] = list(random.permutation(pools[one]))
        drawn.append(int(queues[one].pop()))
    return drawn


def against_real(features_ND: Tensor, asked: list[Class], real: RealSide) -> dict[str, Any]:
    """Return KID (cubic kernel, x 1000) and the bounded one (x 1000) by modality, and manifolds."""
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = defaultdict(list)
    own = set(asked)
    held = [row for row, i in enumerate(real.held) if (i.modality, i.label) in own]
    for _ in range(NUM_DRAWS):
        sides = []
        for modality in sorted({real.held[row].modality for row in held}):
            rows = [row for row in held if real.held[row].modality == modality]
            wanted = [(real.held[row].modality, real.held[row].label) for row in rows]
            drawn = matched(asked, wanted, random)
            pair = features_ND[drawn].double(), real.features[rows].double()
            found[f"{modality} KID"].append(1000 * float(squared_mmd(*pair)))
            found[f"{modality} bounded"].append(1000 * bounded_mmd(*pair))
            sides.append(pair)
        for kernel in ("KID", "bounded"):
            latest = [v[-1] for name, v in found.items() if name.endswith(" " + kernel)]
            found[f"mean {kernel}"].append(float(np.mean(latest[: len(sides)])))
        both = manifolds(*(torch.cat(side) for side in zip(*sides, strict=True)))
        for name, value in vars(both).items():
            found[name].append(value)
    result: dict[str, Any] = {"n": len(held)}
    for name, values in found.items():
        low, middle, high = np.percentile(values, [2.5, 50, 97.5])
        result[name] = [round(float(v), 3) for v in (middle, low, high)]
    return result


def look(pixels: Tensor, real: RealSide, modalities: list[str]) -> dict[str, Any]:
    """Return detail and brightness by modality, real = 1, at the images' own size."""
    side = pixels.shape[-1]
    held = functional.interpolate(real.pixels, side, mode="bicubic", antialias=True).clamp(0, 1)
    result = {}
    for modality in sorted(set(modalities)):
        own = pixels[[row for row, one in enumerate(modalities) if one == modality]]
        theirs = held[[row for row, i in enumerate(real.held) if i.modality == modality]]
        detail = laplacian_energy(own).mean() / laplacian_energy(theirs).mean()
        result[modality] = {
            "detail": round(float(detail), 3),
            "brightness": round(float(own.mean() / theirs.mean()), 3),
            "contrast": round(
                float(own.std(dim=(1, 2, 3)).mean() / theirs.std(dim=(1, 2, 3)).mean()), 3
            ),
        }
    return result


def near_train(features_ND: Tensor, modalities: list[str], real: RealSide) -> dict[str, float]:
    """Return the share nearer to a train image than the 1st percentile of the real held ones."""
    shares = {}
    for modality in sorted(set(modalities)):
        train = real.train_features[[r for r, i in enumerate(real.train) if i.modality == modality]]
        held = real.features[[r for r, i in enumerate(real.held) if i.modality == modality]]
        own = features_ND[[r for r, one in enumerate(modalities) if one == modality]]
        radius = torch.cdist(held, train).amin(dim=1).quantile(0.01)
        shares[modality] = float((torch.cdist(own, train).amin(dim=1) < radius).float().mean())
    return shares


def measured(
    weights: str, real: RealSide, see: ImageNetFeatures, options: argparse.Namespace
) -> dict[str, Any]:
    """Return one generator's rows."""
    generator = registry.load("text-to-image", weights)
    classes = sorted({(i.modality, i.label) for i in real.held})
    asked = [one for one in classes for _ in range(options.per_prompt)]
    pixels = make(generator, asked, options)
    through = recoded(generator, real.pixels, pixels.shape[-1])
    features = torch.from_numpy(see(pixels))
    held = [(i.modality, i.label) for i in real.held]
    modalities = [modality for modality, _ in asked]
    if options.sheet:
        rows = []
        for one in classes:
            own = pixels[[row for row, other in enumerate(asked) if other == one][:6]]
            theirs = real.pixels[[row for row, other in enumerate(held) if other == one][:4]]
            theirs = functional.interpolate(theirs, own.shape[-1], mode="area")
            blank = torch.ones(4 - len(theirs), 3, own.shape[-1], own.shape[-1])
            rows += [own, theirs, blank]
        zoom = max(1, SIZE // pixels.shape[-1])
        path = options.sheet / f"{Path(weights).name}.png"
        contact_sheet(torch.cat(rows), path, columns=10, zoom=zoom)
    return {
        "side": pixels.shape[-1],
        "against real": against_real(features, asked, real),
        "recoded real against real": against_real(torch.from_numpy(see(through)), held, real),
        "look": look(pixels, real, modalities),
        "look of recoded": look(through, real, [modality for modality, _ in held]),
        "finding read": real.read(features, asked),
        "near train": near_train(features, modalities, real),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--per-prompt", type=int, default=40)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    see = ImageNetFeatures()
    real = RealSide(options.data, see)
    train = [(i.modality, i.label) for i in real.train]
    result = {
        "real train against real": against_real(real.train_features, train, real),
        "finding read on real": real.read(
            real.features, [(i.modality, i.label) for i in real.held]
        ),
    }
    for weights in options.weights:
        result[weights] = measured(weights, real, see, options)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
