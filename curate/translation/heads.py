"""Made-up heads: slices of six tissues, and the look-ups that show them as one modality or another.

For trying translation out and measuring it where the true target is known. No person's anatomy.
Shapes: N heads, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TISSUES = ("air", "scalp", "skull", "fluid", "grey", "white")
# Intensity of each tissue, 0 .. 1. Fixed before any network was trained. Skull and fluid are nearly
# equal in T1 and far apart in the others, so that no look-up on T1's intensities leads to them.
LOOKUPS: Mapping[str, Sequence[float]] = {
    "T1": (0.0, 0.85, 0.08, 0.16, 0.48, 0.78),
    "PD": (0.0, 0.55, 0.10, 0.90, 0.75, 0.60),
    "T2": (0.0, 0.35, 0.08, 0.95, 0.60, 0.40),
    "inverted": (0.0, 0.15, 0.92, 0.84, 0.52, 0.22),
}
FINER = 3  # sub-pixels a side: tissues meet inside pixels
NOISE = 0.01  # standard deviation of a picture's noise


@dataclass(frozen=True)
class MadeUpHeads:
    """Slices of heads: the share of each tissue in each pixel."""

    shares: NDArray[np.float32]  # [N, tissues, H, W]

    @classmethod
    def made_up(cls, count: int, size: int, *, seed: int) -> "MadeUpHeads":
        """Return slices of `count` heads at size x size pixels; another seed gives other heads."""
        draws = np.random.default_rng([seed, 7])
        shares = np.stack([cls.one(size, draws) for _ in range(count)])
        return cls(shares.astype(np.float32))

    @staticmethod
    def one(size: int, draws: np.random.Generator) -> NDArray[Any]:
        """Return one head's tissues [T, H, W]: nested ovals, folded cortex, two ventricles."""
        fine = size * FINER
        y, x = np.mgrid[-1 : 1 : fine * 1j, -1 : 1 : fine * 1j]
        middle_y, middle_x, turn = (
            draws.normal(0, 0.04),
            draws.normal(0, 0.04),
            draws.normal(0, 0.15),
        )
        y, x = y - middle_y, x - middle_x
        y, x = y * np.cos(turn) - x * np.sin(turn), x * np.cos(turn) + y * np.sin(turn)
        tall, wide = draws.uniform(0.80, 0.92), draws.uniform(0.66, 0.80)
        radius, angle = np.hypot(y / tall, x / wide), np.arctan2(y / tall, x / wide)

        def wave(frequencies: Sequence[int], depth: float) -> NDArray[Any]:
            parts = [
                draws.normal(0, depth) * np.cos(f * angle + draws.uniform(0, 7))
                for f in frequencies
            ]
            return np.asarray(np.sum(parts, axis=0))

        outline = radius + wave((2, 3), 0.015)
        brain = outline + wave((5, 7), 0.01)
        folds = brain + wave((9, 11, 14, 17), 0.03)
        scalp, skull = draws.uniform(0.07, 0.11), draws.uniform(0.06, 0.09)
        gap, cortex = draws.uniform(0.04, 0.07), draws.uniform(0.12, 0.2)
        labels = np.zeros(y.shape, int)
        edges = np.cumsum([0, scalp, skull])
        for tissue, edge in enumerate(edges, start=1):
            labels[outline < 1 - edge] = tissue
        labels[(labels == 2) & (outline < 1 - edges[-1] - skull)] = 3
        labels[(labels == 3) & (folds < 1 - edges[-1] - skull - gap)] = 4
        labels[(labels == 4) & (folds < 1 - edges[-1] - skull - gap - cortex)] = 5
        for side in (-1, 1):
            apart, long, thick = (
                draws.uniform(0.09, 0.15),
                draws.uniform(0.16, 0.3),
                draws.uniform(0.05, 0.1),
            )
            lean = side * draws.uniform(0.1, 0.4)
            across = x - side * apart - lean * y
            deep = labels >= 4
            labels[deep & (np.hypot(y / long, across / thick) < 1)] = 3
            nucleus = np.hypot((y - 0.1) / 0.16, (x - side * (apart + 0.16)) / 0.08) < 1
            labels[nucleus & (labels == 5)] = 4
        one_hot = labels[None] == np.arange(len(TISSUES))[:, None, None]
        shares = one_hot.reshape(len(TISSUES), size, FINER, size, FINER).mean(axis=(2, 4))
        return np.asarray(shares)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.shares)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Return the commonest tissue of each pixel: [N, H, W]."""
        return np.asarray(self.shares.argmax(axis=1), np.uint8)

    def pictures(
        self, levels: Sequence[float], *, seed: int = 0, bias: float = 0.0
    ) -> NDArray[np.float32]:
        """Return [N, H, W] in 0 .. 1 for tissues of these intensities.

        `bias` is the depth of a smooth field, as a coil's: 0.3 darkens and brightens by 30 %.
        """
        draws = np.random.default_rng([seed, len(self)])
        pictures: NDArray[Any] = np.einsum("nthw,t->nhw", self.shares, np.asarray(levels))
        num, height, width = pictures.shape
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        turn = draws.uniform(0, 2 * np.pi, (num, 1, 1))
        pictures = pictures * (1 + bias * (x * np.cos(turn) + y * np.sin(turn)))
        pictures = pictures + draws.normal(0, NOISE, pictures.shape)
        return np.asarray(pictures.clip(0, 1), np.float32)
