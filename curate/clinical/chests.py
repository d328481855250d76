"""Chests made by formulas, with masks, records and effects that are known: what can be proved on.

Values in HU, sides in voxels. Shapes: [D, H, W]; z rises to the head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.sample import Affine, Sample

LABELS = {"body": 1, "right lung": 2, "left lung": 3, "airway": 4}
LUNGS = (LABELS["right lung"], LABELS["left lung"])
MEANS = {0: -1000.0, 1: 40.0, 2: -800.0, 3: -800.0, 4: -950.0}  # HU
LUNG_SPREAD = 40.0  # standard deviation of a patient's lungs, HU
NOISE = 15.0  # HU, each voxel its own
MISSING = 0.3  # share of fields that a record does not hold
AGES = (24, 90)
SMOKING = ("never", "current")
DIAGNOSES = ("normal", "fibrosis")
SEXES = ("male", "female")
FIELDS = ("smoking", "age", "diagnosis", "sex")


@dataclass(frozen=True)
class Planted:
    """Effects in HU: all that fields do to a chest. `sex` does nothing, as do further fields."""

    smoking: float = 60.0  # current against never, both lungs
    age: float = -40.0  # oldest against youngest, body wall
    diagnosis: float = 60.0  # fibrosis against normal, the lungs' lower third: no label says where
    further: int = 0  # fields of two values without effect


@dataclass(frozen=True)
class Chest:
    """One case: an image in HU, its mask and what its record says."""

    image: Sample
    mask: Sample
    record: Mapping[str, Any]


def chest(
    seed: int, side: int = 16, planted: Planted | None = None, missing: float = MISSING
) -> Chest:
    """Return a case, its own by its seed. Spacing shrinks with the side: a chest is 320 mm wide."""
    planted, draws = planted or Planted(), np.random.default_rng(seed)
    labels = anatomy(draws, side)
    facts: dict[str, Any] = {
        "smoking": str(draws.choice(SMOKING)),
        "age": int(draws.integers(AGES[0], AGES[1] + 1)),
        "diagnosis": str(draws.choice(DIAGNOSES)),
        "sex": str(draws.choice(SEXES)),
        **{f"further {number}": str(draws.choice(("a", "b"))) for number in range(planted.further)},
    }
    values = np.vectorize(MEANS.get)(labels).astype(float)
    lungs = np.isin(labels, LUNGS)
    values[lungs] += draws.normal(0, LUNG_SPREAD) + planted.smoking * (
        facts["smoking"] == "current"
    )
    share = (facts["age"] - AGES[0]) / (AGES[1] - AGES[0])
    values[labels == LABELS["body"]] += planted.age * share
    values[_lower_third(labels)] += planted.diagnosis * (facts["diagnosis"] == "fibrosis")
    values += draws.normal(0, NOISE, values.shape)
    known = {name: value for name, value in facts.items() if draws.random() >= missing}
    step = 320 / side
    affine: Affine = ((-step, 0, 0, 160), (0, -step, 0, 160), (0, 0, step, 0), (0, 0, 0, 1))
    image = np.rint(values).astype(np.int16)[None]
    spacing = (step, step, step)
    return Chest(
        Sample(image, "HU", spacing, affine),
        Sample(labels.astype(np.uint8)[None], "labels", spacing, affine),
        known,
    )


def anatomy(draws: np.random.Generator, side: int) -> NDArray[np.int64]:
    """Return labels [side, side, side]: body, two lungs, airway, each of a size of its own."""
    z, y, x = (np.mgrid[:side, :side, :side] + 0.5) / side * 2 - 1  # each -1 .. 1
    wide, deep = draws.uniform(0.85, 0.95), draws.uniform(0.65, 0.8)
    labels = np.where((x / wide) ** 2 + (y / deep) ** 2 < 1, LABELS["body"], 0)
    for sign, label in ((-1, LABELS["right lung"]), (1, LABELS["left lung"])):
        centre = (
            draws.uniform(-0.1, 0.1),
            draws.uniform(-0.05, 0.05),
            sign * draws.uniform(0.4, 0.46),
        )
        radii = (
            draws.uniform(0.7, 0.85),
            deep * draws.uniform(0.6, 0.72),
            draws.uniform(0.28, 0.34),
        )
        parts = ((axis - c) / r for axis, c, r in zip((z, y, x), centre, radii, strict=True))
        labels[sum(part**2 for part in parts) < 1] = label
    radius = max(0.09, 1.2 / side)
    tube = (x - draws.uniform(-0.03, 0.03)) ** 2 + (y + 0.1) ** 2 < radius**2
    labels[tube & (z > -0.2) & (labels == LABELS["body"])] = LABELS["airway"]
    return np.asarray(labels, np.int64)


def _lower_third(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where the lower third of the lungs' height lies."""
    lungs = np.isin(labels, LUNGS)
    heights = np.flatnonzero(lungs.any(axis=(1, 2)))
    edge = heights[0] + (heights[-1] + 1 - heights[0]) / 3
    lowest = lungs & (np.arange(len(labels)) < edge)[:, None, None]
    return np.asarray(lowest, np.bool_)


def segmented(image: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels [D, H, W] read off HU alone, by thresholds: what a mask's adherence is seen by.

    Lungs right and left of the middle; the airway is air inside the body between them.
    """
    side = image.shape[-1]
    x = np.broadcast_to((np.arange(side) + 0.5) / side * 2 - 1, image.shape)
    inside = np.zeros(image.shape, bool)
    tissue = image > -400
    for axis in (1, 2):  # what tissue lies around in its slice
        before = np.maximum.accumulate(tissue, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(tissue, axis), axis=axis), axis)
        inside = before & after if axis == 1 else inside & before & after
    labels = np.where(tissue, LABELS["body"], 0)
    air = inside & ~tissue
    labels[air & (x < -0.12)] = LABELS["right lung"]
    labels[air & (x > 0.12)] = LABELS["left lung"]
    labels[air & (np.abs(x) <= 0.12)] = LABELS["airway"]
    return np.asarray(labels, np.int64)


def dice(one: NDArray[Any], other: NDArray[Any], labels: tuple[int, ...]) -> float:
    """Return the overlap of some labels in two masks, 0 .. 1."""
    here, there = np.isin(one, labels), np.isin(other, labels)
    return float(2 * (here & there).sum() / max(here.sum() + there.sum(), 1))
