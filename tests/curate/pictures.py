"""Grey pictures whose brightness is their planted quality, and eyes that see just that."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from annotation.config import FIRST_EYES
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image

THRESHOLDS = (0.35, 0.65)  # of the mean brightness, 0 .. 1


class BrightnessEyes:
    """Sees the mean brightness; remembers how many images it was shown."""

    identity = FIRST_EYES

    def __init__(self) -> None:
        self.num_seen = 0

    @property
    def thresholds(self) -> tuple[float, ...]:
        return THRESHOLDS

    def truth(
        self, images: Tensor, modalities: Sequence[str], labels: Sequence[str | None]
    ) -> Tensor:
        self.num_seen += len(images)
        return images.mean(dim=(1, 2, 3))


def picture(brightness: float, seed: int, side: int = 16) -> np.ndarray:
    """Return a grainy uint8 picture [side, side] of that mean brightness."""
    grain = np.random.default_rng(seed).normal(0, 0.03, (side, side))
    return ((brightness + grain).clip(0, 1) * 255).astype(np.uint8)


def add_pictures(
    ws: Workspace,
    count: int,
    *,
    modality: str = "OCT",
    num_prompts: int = 2,
    first_seed: int = 0,
    sides: Sequence[int] = (16,),
) -> list[Image]:
    """Add real images of all brightnesses, evenly over the prompts and sides."""
    arrays = [  # brightness evenly spread, in no order
        picture((n * 0.618) % 1, first_seed + n, sides[n % len(sides)]) for n in range(count)
    ]
    return add_pixels(ws, arrays, modality=modality, num_prompts=num_prompts, first_seed=first_seed)


def add_pixels(
    ws: Workspace,
    arrays: Sequence[np.ndarray],
    *,
    modality: str = "OCT",
    num_prompts: int = 1,
    first_seed: int = 0,
) -> list[Image]:
    """Add real images of these pixels, uint8 [height, width] each, evenly over the prompts."""
    prompts = [
        queries.prompts.get_or_add_prompt(
            ws.session, modality=modality, text=f"finding {n}", label=f"f{n}"
        )
        for n in range(num_prompts)
    ]
    files = [(png_bytes(array), "image/png") for array in arrays]
    images = [
        Image(
            file_sha256=sha,
            pixels_sha256=pixels_hash(array),
            origin="real",
            prompt_id=prompts[number % num_prompts].id,
            shape=[1, *array.shape],
            source_path=f"images/{modality}-{first_seed + number}.png",
        )
        for number, (sha, array) in enumerate(
            zip(queries.files.add_files(ws.session, ws.store, files), arrays, strict=True)
        )
    ]
    ws.session.add_all(images)
    ws.session.commit()
    return images
