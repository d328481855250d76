"""What a rater's browser gets of an image: pixels, and nothing that could tell where they are from.

Every picture of a study has one width, height and mode (slices have their own, beside pictures of
what was given for them), and its PNG is stored without compression: equal dimensions mean equal
length, where a compressed synthetic image would be shorter.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from curate.samples.formats import decode
from curate.samples.rendered import levels_of, montage_of, montage_size, slices_of
from curate.samples.spoiling import SPOILINGS
from db.queries.campaigns import ShownImage
from generators.sample import Sample


@dataclass(frozen=True)
class PictureFormat:
    """What all pictures of one study share."""

    width: int  # pixels
    height: int
    mode: str  # "L" (grey) or "RGB", 8 bits each

    @classmethod
    def of(cls, images: Iterable["StudyImage"]) -> "PictureFormat":
        """Return the generator's pixel size, so that only real images are ever resized.

        Of several sizes the most frequent, then the larger; without synthetic images that of all. A
        volume has its montage's. Grey when all are.
        """
        found = list(images)
        synthetic = [image for image in found if image.origin == "synthetic"]
        sizes = Counter(montage_size(image.shape) for image in synthetic or found)
        height, width = max(sizes, key=lambda size: (sizes[size], size[0] * size[1], size))
        is_grey = all(image.shape[0] == 1 for image in found)
        return cls(width, height, "L" if is_grey else "RGB")

    def png(
        self,
        encoded: bytes,
        *,
        spoiled: str | None = None,
        is_mask: bool = False,
        part: tuple[int, int] | None = None,
    ) -> bytes:
        """Return a stored image, or a volume's montage, as an uncompressed PNG of this format.

        With `part`, that slice of a volume: (which, from 1, of how many). It has no metadata.
        `spoiled` names what makes it a known-bad control. Classes, as those of a mask, are each
        shown in a grey of their own.

        One of another size gives its central part in the study's proportions, as generators see it.
        """
        sample = decode(encoded)
        are_classes = sample.kind == "labels" or (is_mask and len(sample.array) == 1)
        if are_classes:
            # class 0 is black; 113 and 192 have no common divisor, so 192 more differ, and near
            # ones most
            classes = sample.array.astype(np.int64)
            greys = np.where(classes == 0, 0, 64 + classes * 113 % 192)
            sample = Sample(greys.astype(np.uint8))
        if part is None:
            array = levels_of(montage_of(sample))
        else:
            slices = slices_of(sample, part[1])
            array = levels_of(slices[min(part[0], len(slices)) - 1])  # a stand-in may have fewer
        image = PillowImage.fromarray(array).convert(self.mode)
        size = (self.width, self.height)
        if image.size != size:
            way = PillowImage.Resampling.NEAREST if are_classes else PillowImage.Resampling.LANCZOS
            image = ImageOps.fit(image, size, way)
        if spoiled is not None:
            image = SPOILINGS[spoiled](image)
        buffer = io.BytesIO()
        # a new image of these pixels alone: nothing that came with the file can pass
        clean = PillowImage.frombytes(self.mode, size, image.tobytes())
        clean.save(buffer, format="PNG", compress_level=0)
        return buffer.getvalue()


@dataclass(frozen=True)
class StudyImage:
    """What the format depends on."""

    origin: str  # "real" or "synthetic"
    shape: tuple[int, ...]  # [channels, height, width] pixels, or [channels, depth, ...] voxels


class StudyPictures:
    """All pictures of one study, as its raters see them."""

    def __init__(self, shown: Sequence[ShownImage]) -> None:
        """`shown` is all that the study shows."""
        self._forms = {}
        for of_slices in {image.part is not None for image in shown}:
            alike = [image for image in shown if (image.part is not None) == of_slices]
            self._forms[of_slices] = PictureFormat.of(
                StudyImage(
                    image.origin,
                    (image.shape[0], *image.shape[-2:]) if of_slices else image.shape,
                )
                for image in [image for image in alike if not image.is_condition] or alike
            )

    def png(self, encoded: bytes, image: ShownImage) -> bytes:
        """Return the picture of a stored file, which is shown as `image`."""
        return self._forms[image.part is not None].png(
            encoded,
            spoiled=image.spoiled,
            is_mask=image.name == "mask",
            part=image.part,
        )
