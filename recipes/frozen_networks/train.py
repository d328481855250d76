"""Train the frozen networks again from the data folder, or some of them.

    python -m recipes.frozen_networks.train DATA_FOLDER [--only eyes] [--steps 300]

The files in `weights/` were made by this command; the same settings give the same kind of network,
and on the same machine and library versions the same weights.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from recipes.frozen_networks.calibrate import calibrate
from recipes.frozen_networks.train_self_supervised import (
    EncoderTask,
    FeatureTask,
    train_from_pixels,
)
from recipes.frozen_networks.train_truth import findings_of, train_truth
from recipes.set_aside import is_set_aside
from rewards.frozen.config import SIDE, TRUTH_SIDE, TrainingSettings
from rewards.frozen.data import (
    RealImage,
    central_squares,
    patient_hash,
    read_images,
    split_by_patient,
)
from rewards.frozen.files import half_precision, num_weights, write_tensors
from rewards.frozen.networks import (
    FeatureExtractor,
    load_features,
    nearest_distances,
    new_encoder,
    new_eyes,
    new_features,
    new_judge,
)
from rewards.frozen.truth import Finding, TruthNetwork

SETTINGS = {
    "eyes": TrainingSettings(num_steps=2000, seed=1),
    "judge": TrainingSettings(num_steps=2000, seed=2),
    "encoder": TrainingSettings(num_steps=1000, num_pairs=24, seed=3),
    "features": TrainingSettings(num_steps=900, num_pairs=32, seed=4),
}


def main() -> None:
    """Train what was asked for, freeze thresholds, write `weights/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=sorted(SETTINGS), action="append")
    parser.add_argument("--steps", type=int, help="fewer steps, to try the whole way through")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or SETTINGS:
        settings = SETTINGS[name]
        if options.steps:
            settings = replace(settings, num_steps=options.steps)
        print(f"{name}: {settings.num_steps} steps", flush=True)
        train, val = images_of(options.data, TRUTH_SIDE if name in ("eyes", "judge") else SIDE)
        if name in ("eyes", "judge"):
            make_truth(name, train, val, settings)
        else:
            make_features(name, train, settings)
    if "features" in (options.only or SETTINGS):
        make_train_features(*images_of(options.data, SIDE))


def images_of(data: Path, side: int) -> tuple[list[RealImage], list[RealImage]]:
    """Return the images that a network of this side learns from, and the validation rows."""
    train = read_images(data, split="train", side=side)
    return [i for i in train if not is_set_aside(i.patient)], read_images(
        data, split="val", side=side
    )


def make_truth(
    name: str, train: list[RealImage], val: list[RealImage], settings: TrainingSettings
) -> None:
    """Train a truth network on its half of the patients, freeze its thresholds, write it."""
    halves = split_by_patient(train)
    own, other = halves if name == "eyes" else halves[::-1]
    images = [train[place] for place in own]
    new: Callable[[list[Finding]], TruthNetwork] = new_eyes if name == "eyes" else new_judge
    torch.manual_seed(settings.seed)
    untrained = new(findings_of(train))
    untrained.side = TRUTH_SIDE
    network = train_truth(untrained, images, settings, _progress)
    network.load_state_dict(half_precision(network.state_dict()))
    calibration, accuracies = calibrate(network, val, [train[place] for place in other])
    about = _about(network.backbone, network, settings, images) | {
        "side": network.side,
        "targets": ["modality", "finding", "severity of the corruption applied"],
        "findings": [vars(finding) for finding in network.findings],
        "calibration": calibration.to_json(),
        "balanced_accuracies": accuracies,
    }
    write_tensors(name, network.state_dict(), about)


def make_features(name: str, train: list[RealImage], settings: TrainingSettings) -> None:
    """Train the encoder or the feature network on pixels alone and write it."""
    torch.manual_seed(settings.seed)
    network = new_encoder() if name == "encoder" else new_features()
    task_of = EncoderTask if name == "encoder" else FeatureTask
    task = task_of(network.backbone, network.dim)
    network.backbone = train_from_pixels(task, [i.pixels for i in train], settings, _progress)
    _standardise(network, train)
    targets = ["another view of the same image"]
    if name == "encoder":
        targets.append("kind and severity of the corruption applied")
    about = _about(network.backbone, network, settings, train) | {"targets": targets}
    write_tensors(name, network.state_dict(), about)


@torch.no_grad()
def make_train_features(train: list[RealImage], val: list[RealImage]) -> None:
    """Write the feature network's view of the train images and how near val images come to them."""
    network = load_features()
    features, val_features = network(central_squares(train)), network(central_squares(val))
    tensors = {
        "features": features,
        "val_to_train": nearest_distances(val_features, features.half().float()),
    }
    about = {"images": [f"{i.modality}: {i.label}" for i in train], "num_val": len(val)}
    write_tensors("train_features", tensors, about)


@torch.no_grad()
def _standardise(network: FeatureExtractor, train: list[RealImage]) -> None:
    features = network.eval()(central_squares(train))
    network.mean.copy_(features.mean(dim=0))
    network.spread.copy_(features.std(dim=0))


def _about(
    backbone: nn.Module, network: nn.Module, settings: TrainingSettings, images: list[RealImage]
) -> dict[str, object]:
    return {
        "architecture": type(backbone).__name__,
        "num_weights": num_weights(network.state_dict()),
        "trained_on": sorted({patient_hash(image.patient) for image in images}),
        "sources": sorted({image.source for image in images}),
        "num_images": len(images),
        "training": settings.to_json(),
        "licence": "CC-BY-4.0",
    }


def _progress(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
