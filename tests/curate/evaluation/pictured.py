"""Sets of small pictures with a table, whose labels can be seen (or not)."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.samples.pixels import png_bytes

HEADER = ("path", "Text", "modality", "label", "patient", "split", "sex")
Row = tuple[str, str, str, str, str, str, str]


def picture(kind: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return 64 x 64: a disc, a bar, or neither, in a place of its own, on grain of its own."""
    y, x = np.mgrid[0:64, 0:64]
    row, column = random.integers(18, 46, 2)
    shapes = {
        "disc": (y - row) ** 2 + (x - column) ** 2 < 100,
        "bar": abs(y - row) < 4,
        "none": np.zeros((64, 64), bool),
    }
    grain = random.normal(0, 12, (64, 64)) + random.normal(0, 25, (8, 8)).repeat(8, 0).repeat(8, 1)
    levels: NDArray[np.uint8] = (90 + 110 * shapes[kind] + grain).clip(0, 255).astype(np.uint8)
    return levels


def write_set(
    folder: Path, asked: dict[str, tuple[str, int]], *, seed: int, split: str = "train"
) -> Path:
    """Write {label: (what is drawn, images)}, a patient for two images; return the table."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for label, (kind, count) in asked.items():
        for number in range(count):
            name = f"{label}-{number}.png"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(png_bytes(picture(kind, random)))
            patient = f"{seed}-{label}-{number // 2}"
            sex = "f" if number % 4 < 2 else "m"
            rows.append((name, f"a picture, {label}", "OCT", label, patient, split, sex))
    return write_table(folder, rows)


def write_table(folder: Path, rows: list[Row]) -> Path:
    """Write the table of a set."""
    with (folder / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        table.writerows(rows)
    return folder / "data.csv"
