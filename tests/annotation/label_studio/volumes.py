"""Images that were made from another one, and volumes, as raters are shown them."""

import numpy as np

from curate.samples.formats import encode
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image
from generators.sample import Sample

SIDE = 32  # pixels
DEPTH = 12  # slices


def disc(brightness: int, radius: float) -> np.ndarray:
    """Return a uint8 picture [SIDE, SIDE] of a disc."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.where(np.hypot(rows, columns) < radius, brightness, 20).astype(np.uint8)


def add_edits(ws: Workspace, count: int) -> list[Image]:
    """Add images whose prompts carry a prior: the same disc, smaller and darker."""
    priors = [(png_bytes(disc(120, 6 + n)), "image/png") for n in range(count)]
    edits = [disc(200, 10 + n) for n in range(count)]
    given = queries.files.add_files(ws.session, ws.store, priors)
    files = [(png_bytes(edit), "image/png") for edit in edits]
    made = queries.files.add_files(ws.session, ws.store, files)
    images = []
    for prior, file, pixels in zip(given, made, edits, strict=True):
        prompt = queries.prompts.get_or_add_prompt(
            ws.session, modality="CXR", text="the disc has grown", conditions={"prior": prior}
        )
        images.append(_row(file, pixels, prompt.id, (1, SIDE, SIDE)))
    ws.session.add_all(images)
    ws.session.commit()
    return images


def add_volumes(ws: Workspace, count: int) -> list[Image]:
    """Add volumes in which a ball is cut: its discs grow and shrink from slice to slice."""
    images = []
    for number in range(count):
        radii = 14 * np.sin(np.pi * (np.arange(DEPTH) + 0.5) / DEPTH)
        volume = np.stack([disc(200 - 40 * number, radius) for radius in radii])[None]
        sample = Sample(volume, spacing_mm=(2.0, 1.0, 1.0))
        made = encode(sample)
        [file] = queries.files.add_files(ws.session, ws.store, [(made.content, made.media_type)])
        prompt = queries.prompts.get_or_add_prompt(ws.session, modality="CT", text="a ball")
        images.append(_row(file, volume, prompt.id, volume.shape))
    ws.session.add_all(images)
    ws.session.commit()
    return images


def _row(file: str, pixels: np.ndarray, prompt_id: str, shape: tuple[int, ...]) -> Image:
    return Image(
        file_sha256=file,
        pixels_sha256=pixels_hash(pixels),
        origin="real",
        prompt_id=prompt_id,
        shape=list(shape),
        source_path=f"made/{file[:8]}",
    )
