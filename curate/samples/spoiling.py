"""Known-bad controls: real images spoiled so that no careful rater would call them fit.

Strong enough for a glance at any size, and always the same for the same image: every rater sees the
same control, and sees it again when it is repeated.
"""

import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter

from curate.samples.formats import decode
from curate.samples.pixels import png_bytes
from curate.samples.renderings import montage
from curate.workspace import Workspace
from db import queries

Spoiling = Callable[[PillowImage.Image], PillowImage.Image]


def blurred(image: PillowImage.Image) -> PillowImage.Image:
    """Blur with a standard deviation of a fourteenth of the short side: no detail is left."""
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 14))


def blocks(image: PillowImage.Image) -> PillowImage.Image:
    """Keep eight squares along each side."""
    return image.resize((8, 8), PillowImage.Resampling.BOX).resize(
        image.size, PillowImage.Resampling.NEAREST
    )


def noisy(image: PillowImage.Image) -> PillowImage.Image:
    """Add white noise with a standard deviation of 90 of 255 levels."""
    pixels = np.asarray(image)
    random = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    levels = pixels + random.normal(0, 90, pixels.shape)
    return PillowImage.fromarray(levels.clip(0, 255).astype(np.uint8))


def half_turned(image: PillowImage.Image) -> PillowImage.Image:
    """Turn the left half upside down: no anatomy looks so."""
    spoiled = image.copy()
    half = (0, 0, image.width // 2, image.height)
    spoiled.paste(image.crop(half).transpose(PillowImage.Transpose.FLIP_TOP_BOTTOM), half)
    return spoiled


SPOILINGS: Mapping[str, Spoiling] = {
    "blocks": blocks,
    "blurred": blurred,
    "half-turned": half_turned,
    "noisy": noisy,
}


def spoiled_file(ws: Workspace, file_sha256: str, how: str) -> str:
    """Return the SHA-256 of the image spoiled so, kept as a file of its own beside it.

    Where another file stands in its place, that one's.
    """
    other = queries.campaigns.stands_in(how)
    if other is not None:
        return other[1]
    levels_3HW = (montage(decode(ws.store.get(file_sha256))) * 255).round().byte()
    image = PillowImage.fromarray(levels_3HW.permute(1, 2, 0).numpy())
    encoded = png_bytes(np.asarray(SPOILINGS[how](image)))
    [sha256] = queries.files.add_files(ws.session, ws.store, [(encoded, "image/png")])
    return sha256
