"""Stored images as small pictures inside a page."""

import base64
import io
from dataclasses import dataclass

from PIL import Image as PillowImage

from curate.samples.formats import decode
from curate.samples.renderings import eight_bits, montage
from curate.workspace import Workspace
from db.queries.images import ScoredImage

LONGEST_SIDE = 192  # pixels: what a page shows


@dataclass(frozen=True)
class Picture:
    """An image with what is said under it."""

    uri: str
    modality: str
    text: str
    label: str | None
    seed: int
    score: float | None


def picture_of(ws: Workspace, image: ScoredImage) -> Picture:
    """Return a stored image for a page."""
    encoded = ws.store.get(image.file_sha256)
    return Picture(
        small_png_uri(encoded), image.modality, image.text, image.label, image.seed, image.score
    )


def small_png_uri(encoded: bytes, longest_side: int = LONGEST_SIDE) -> str:
    """Return a picture or volume of any size and depth as the data URI of a small 8-bit PNG."""
    image = PillowImage.fromarray(eight_bits(montage(decode(encoded))))
    image.thumbnail((longest_side, longest_side), PillowImage.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return png_uri(buffer.getvalue())


def png_uri(encoded: bytes) -> str:
    """Return PNG bytes as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
