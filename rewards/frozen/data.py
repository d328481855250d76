"""The real images that the frozen networks learn from, and how they are brought to squares.

`recipes/embedded_model/data.py` brings images to squares in the same way; the code stands twice
because the two folders do not know each other, and the judge must not change with the generator.
Shapes: B images, H = W = `SIDE` pixels, RGB in [0, 1].
"""

import csv
import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rewards.errors import RewardError
from rewards.frozen.config import CANVAS, SHIPPED_SOURCES, SIDE

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class RealImage:
    """One row of the table: its pixels on the canvas and what its source says of it."""

    pixels: Pixels  # [H, W, 3], short side `CANVAS`
    modality: str
    label: str
    patient: str
    source: str


def read_images(folder: Path, *, split: str) -> list[RealImage]:
    """Read the shippable rows of `folder/data.csv` whose split is "train" or "val"."""
    table = folder / "data.csv"
    if not table.is_file():
        raise RewardError(
            f"No data.csv in {folder}. The frozen networks are trained on a table with the columns "
            "path, modality, label, source, patient and split. Name the folder that holds it."
        )
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] in SHIPPED_SOURCES]
    return [
        RealImage(
            pixels=_on_canvas(Image.open(folder / row["path"])),
            modality=row["modality"],
            label=row["label"],
            patient=row["patient"],
            source=row["source"],
        )
        for row in rows
        if row["split"] == split
    ]


def split_by_patient(images: list[RealImage], *, seed: int = 0) -> tuple[list[int], list[int]]:
    """Return the places of two halves that share no patient, every finding spread over both."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        places[image.patient].append(place)
    patients_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for patient, own in places.items():
        patients_of[images[own[0]].source, images[own[0]].label].append(patient)
    order = random.Random(seed)
    halves: tuple[list[int], list[int]] = ([], [])
    for stratum in sorted(patients_of):
        patients = sorted(patients_of[stratum])
        order.shuffle(patients)
        counts = [0, 0]
        for patient in sorted(patients, key=lambda name: -len(places[name])):
            half = 0 if counts[0] <= counts[1] else 1
            halves[half].extend(places[patient])
            counts[half] += len(places[patient])
    return sorted(halves[0]), sorted(halves[1])


def patient_hash(patient: str) -> str:
    """Return a short name that tells patients apart and does not repeat their identifier."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16]


def central_squares(images: list[RealImage]) -> Tensor:
    """Return the central squares, float32 [B, 3, SIDE, SIDE] in [0, 1]."""
    return torch.stack([_square(image.pixels) for image in images])


def to_side(images_BCHW: Tensor) -> Tensor:
    """Bring images of any size to [B, 3, SIDE, SIDE]: the central square, resized, antialiased."""
    height, width = images_BCHW.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    squares = images_BCHW[..., top : top + short, left : left + short]
    if short == SIDE:
        return squares
    resized = functional.interpolate(
        squares, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def _on_canvas(image: Image.Image) -> Pixels:
    rgb = image.convert("RGB")
    scale = CANVAS / min(rgb.size)
    size = (max(CANVAS, round(rgb.width * scale)), max(CANVAS, round(rgb.height * scale)))
    return np.asarray(rgb.resize(size, Image.Resampling.LANCZOS))


def _square(pixels: Pixels) -> Tensor:
    height, width = pixels.shape[:2]
    top, left = (height - CANVAS) // 2, (width - CANVAS) // 2
    square = Image.fromarray(pixels[top : top + CANVAS, left : left + CANVAS])
    small = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    return torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 255
