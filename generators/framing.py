"""Images brought to a generator's square without changing their aspect. H x W pixels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generators.errors import GeneratorError
from generators.sample import Sample


def framed(image_CHW: Tensor, height: int, width: int, fit: str, *, labels: bool = False) -> Tensor:
    """Return the image at height x width; `fit` says what gives: "crop" the margins, "pad" none.

    Values stay in 0 .. 1; padding is black, as beyond a scan's edge. Of `labels` each pixel keeps a
    class that was there: classes are never blended.
    """
    _, found_height, found_width = image_CHW.shape
    scales = (height / found_height, width / found_width)
    scale = max(scales) if fit == "crop" else min(scales)
    bound = max if fit == "crop" else min  # rounding must not leave a gap, or stick out
    inner = (
        bound(height, round(found_height * scale)),
        bound(width, round(found_width * scale)),
    )
    if labels:
        resized = functional.interpolate(image_CHW[None], inner, mode="nearest-exact")[0]
    else:
        resized = functional.interpolate(image_CHW[None], inner, mode="bicubic", antialias=True)[0]
        resized = resized.clamp(0, 1)
    if fit == "crop":
        top, left = (inner[0] - height) // 2, (inner[1] - width) // 2
        return resized[:, top : top + height, left : left + width]
    whole = torch.zeros(len(resized), height, width)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    whole[:, top : top + inner[0], left : left + inner[1]] = resized
    return whole


def picture_in(sample: Sample, shape: tuple[int, ...], role: str) -> Tensor:
    """Return a picture as float32 [C, H, W] of this shape, in 0 .. 1, its margins cropped.

    Raises GeneratorError for a volume, and for colour where the shape is grey.
    """
    array = np.ascontiguousarray(sample.array)
    if array.ndim != 3:
        raise GeneratorError(f"A {role} is a picture, and this one is {list(array.shape)}.")
    top = 1 if array.dtype == np.float32 else np.iinfo(array.dtype).max
    image = torch.from_numpy(array.astype(np.float32) / top)
    channels, height, width = shape
    if channels == 1 and len(image) == 3:
        if (image.amax(0) - image.amin(0)).max() > 2 / 255:
            raise GeneratorError(
                f"A {role} is in colour, and this generator makes grey images. Save it as grey."
            )
        image = image[:1]
    return framed(image, height, width, "crop").expand(channels, -1, -1)
