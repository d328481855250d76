"""What a rater's browser gets of an image: pixels, and nothing that could tell where they are from.

Every picture of a study has one width, height and mode, and its PNG is stored without compression:
equal dimensions mean equal length, where a compressed synthetic image would be shorter.
"""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from curate.samples.formats import decode
from curate.samples.rendered import levels_of, montage_of, montage_size
from curate.samples.spoiling import SPOILINGS
from generators.sample import Sample


@dataclass(frozen=True)
class PictureFormat:
    """What all pictures of one study share."""

    width: int  # pixels
    height: int
    mode: str  # "L" (grey) or "RGB", 8 bits each


@dataclass(frozen=True)
class StudyImage:
    """What the format depends on."""

    origin: str  # "real" or "synthetic"
    shape: tuple[int, ...]  # [channels, height, width] pixels, or [channels, depth, ...] voxels


def study_format(images: Iterable[StudyImage]) -> PictureFormat:
    """Return the generator's pixel size, so that only real images are ever resized.

    Of several sizes the most frequent, then the larger; without synthetic images that of all. A
    volume has its montage's. Grey when all are.
    """
    found = list(images)
    synthetic = [image for image in found if image.origin == "synthetic"]
    sizes = Counter(montage_size(image.shape) for image in synthetic or found)
    height, width = max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size))
    is_grey = all(image.shape[0] == 1 for image in found)
    return PictureFormat(width, height, "L" if is_grey else "RGB")


def picture_for_raters(
    encoded: bytes, form: PictureFormat, *, spoiled: str | None = None, is_mask: bool = False
) -> bytes:
    """Return a stored image, or a volume's montage, as an uncompressed 8-bit PNG of this format.

    It has no metadata. `spoiled` names what makes it a known-bad control. Classes, as those of a
    mask, are each shown in a grey of their own.

    One of another size gives its central part in the study's proportions, as generators see it.
    """
    sample = decode(encoded)
    are_classes = sample.kind == "labels" or (is_mask and len(sample.array) == 1)
    if are_classes:
        # class 0 is black; 113 and 192 have no common divisor, so 192 more differ, near ones most
        classes = sample.array.astype(np.int64)
        greys = np.where(classes == 0, 0, 64 + classes * 113 % 192)
        sample = Sample(greys.astype(np.uint8))
    array = levels_of(montage_of(sample))
    image = PillowImage.fromarray(array).convert(form.mode)
    size = (form.width, form.height)
    if image.size != size:
        way = PillowImage.Resampling.NEAREST if are_classes else PillowImage.Resampling.LANCZOS
        image = ImageOps.fit(image, size, way)
    if spoiled is not None:
        image = SPOILINGS[spoiled](image)
    buffer = io.BytesIO()
    # a new image of these pixels alone: nothing that came with the file can pass
    clean = PillowImage.frombytes(form.mode, size, image.tobytes())
    clean.save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()
