"""The real images that the frozen networks learn from, and how they are brought to squares.

`recipes/embedded_model/data.py` brings images to squares in the same way; the code stands twice
because the two folders do not know each other, and the judge must not change with the generator.
Shapes: B images, H = W = the side that a network sees, in pixels, RGB in [0, 1].
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
from rewards.frozen.config import SHIPPED_SOURCES, SIDE, canvas_of

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class RealImage:
    """One row of the table: its pixels on the canvas and what its source says of it."""

    pixels: Pixels  # [H, W, 3], short side `canvas_of(side)`
    modality: str
    label: str
    patient: str
    source: str


def read_images(folder: Path, *, split: str, side: int = SIDE) -> list[RealImage]:
    """Read the shippable rows of `folder/data.csv` whose split is "train" or "val".

    They are kept on the canvas of networks that see `side` pixels.
    """
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
            pixels=_on_canvas(Image.open(folder / row["path"]), canvas_of(side)),
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
    """Return the central squares, float32 [B, 3, side, side] in [0, 1], of the canvas's side."""
    return torch.stack([_square(image.pixels) for image in images])


def to_side(images_BCHW: Tensor, side: int = SIDE) -> Tensor:
    """Bring images of any size to [B, 3, side, side]: the central square, resized, antialiased."""
    height, width = images_BCHW.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    squares = images_BCHW[..., top : top + short, left : left + short]
    if short == side:
        return squares
    resized = functional.interpolate(
        squares, (side, side), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def _on_canvas(image: Image.Image, canvas: int) -> Pixels:
    rgb = image.convert("RGB")
    scale = canvas / min(rgb.size)
    size = (max(canvas, round(rgb.width * scale)), max(canvas, round(rgb.height * scale)))
    return np.asarray(rgb.resize(size, Image.Resampling.LANCZOS))


def _square(pixels: Pixels) -> Tensor:
    height, width = pixels.shape[:2]
    canvas = min(height, width)
    side = canvas * 4 // 5
    top, left = (height - canvas) // 2, (width - canvas) // 2
    square = Image.fromarray(pixels[top : top + canvas, left : left + canvas])
    small = np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
    return torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 255
