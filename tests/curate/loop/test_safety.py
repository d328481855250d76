from collections.abc import Callable, Sequence

import numpy as np
import pytest

from curate.loop.config import SafetyLimits
from curate.loop.safety import check_new_version
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image

SIDE, PER_PROMPT = 64, 4


def add_version(
    ws: Workspace, draw: Callable[[int, np.random.Generator], np.ndarray]
) -> list[Image]:
    """Add a version's images: `draw(prompt number, chance)` returns grey values in [0, 1]."""
    chance = np.random.default_rng(0)
    prompts = [
        queries.prompts.get_or_add_prompt(ws.session, modality="OCT", text=f"finding {n}")
        for n in range(3)
    ]
    images: list[Image] = []
    for number, prompt in enumerate(prompts):
        for _ in range(PER_PROMPT):
            array = (draw(number, chance).clip(0, 1) * 255).astype(np.uint8)
            (sha,) = queries.files.add_files(
                ws.session, ws.store, [(png_bytes(array), "image/png")]
            )
            images.append(
                Image(
                    file_sha256=sha,
                    pixels_sha256=pixels_hash(array),
                    origin="real",
                    prompt_id=prompt.id,
                    shape=[1, SIDE, SIDE],
                    source_path=f"{len(images)}.png",
                )
            )
    return images


def blobs(chance: np.random.Generator) -> np.ndarray:
    """Return a picture with structure at all scales, another one each time."""
    picture = np.full((SIDE, SIDE), 0.4)
    for size in (1, 4, 16):
        picture += np.kron(chance.normal(0, 0.12, (SIDE // size,) * 2), np.ones((size, size)))
    return picture


def varied(_: int, chance: np.random.Generator) -> np.ndarray:
    return blobs(chance)


def collapsed(number: int, chance: np.random.Generator) -> np.ndarray:
    return blobs(np.random.default_rng(number)) + chance.normal(0, 0.01, (SIDE, SIDE))


def overexposed(_: int, chance: np.random.Generator) -> np.ndarray:
    return blobs(chance) + 0.35


def reasons(ws: Workspace, start: Sequence[Image], new: Sequence[Image]) -> str:
    limits = SafetyLimits(max_far_rise=1.0)  # these pictures are unlike any training image
    return "; ".join(check_new_version(ws, start, new, limits).reasons)


def test_a_version_like_its_start_passes(workspace: Workspace) -> None:
    start = add_version(workspace, varied)
    assert reasons(workspace, start, start) == ""


def test_a_version_that_repeats_itself_is_rejected_by_likeness_and_by_vendi(
    workspace: Workspace,
) -> None:
    start, new = add_version(workspace, varied), add_version(workspace, collapsed)
    found = reasons(workspace, start, new)
    assert "more alike: MS-SSIM" in found
    assert "Vendi" in found


def test_a_version_that_drifts_trips_the_statistics(workspace: Workspace) -> None:
    start, new = add_version(workspace, varied), add_version(workspace, overexposed)
    assert "OCT: the images' brightness moved by +" in reasons(workspace, start, new)


def test_images_unlike_any_training_image_are_counted(workspace: Workspace) -> None:
    start = add_version(workspace, varied)
    metrics = check_new_version(workspace, start, start, SafetyLimits()).metrics
    assert metrics["new"]["far"] == pytest.approx(1.0)
    assert metrics["new"]["copied"] == 0
