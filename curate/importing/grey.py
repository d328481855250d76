"""Windows: which values are shown black and white, by DICOM PS3.3 C.11.2.1.

The same for DICOM, NIfTI and deep PNG and TIFF. Units are the scan's, HU in CT.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.importing.errors import Refused
from curate.importing.picture import Array, Say

Limits = tuple[float, float]  # the values shown black and white


def window_limits(center: float, width: float, function: str = "LINEAR") -> Limits:
    """Return the values shown black and white, by C.11.2.1.2 (LINEAR) or C.11.2.1.3.2.

    LINEAR counts whole values: its width is 1 more than the distance from black to white.
    """
    if function == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    half = (width - 1) / 2
    return center - 0.5 - half, center - 0.5 + half


def given_limits(center: float, width: float) -> Limits:
    """Return the limits of `--window`: by LINEAR, or where no whole values fit in it exactly."""
    return window_limits(center, width, "LINEAR" if width > 1 else "LINEAR_EXACT")


def full_limits(slices: Iterable[Array]) -> Limits:
    """Return the least and the greatest finite value; Refused where there is none."""
    low, high = np.inf, -np.inf
    for values in slices:
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise Refused("all its voxels are NaN or infinite")
    return low, high


def to_grey(values: Array, low: float, high: float) -> NDArray[np.uint8]:
    """Show `low` and below as 0, `high` and above as 255, linear between."""
    span = high - low or 1e-6  # one value for both is a threshold
    shown = np.clip((values - low) / span, 0.0, 1.0) * 255
    grey: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
    return grey


def finite_or_black(values: Array, index: int, say: Say) -> Array:
    """Return values that can be shown: NaN as the least, with a note; infinity stands at an end."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return values
    if num_infinite := int(np.isinf(values).sum()):
        say(f"slice {index}: {num_infinite} infinite voxels are shown black or white")
    if num_nan := int(np.isnan(values).sum()):
        say(f"slice {index}: {num_nan} voxels are NaN and shown black")
    return np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf)


def shown_how(index: int, limits: Limits | None, unit: str | None) -> dict[str, Any]:
    """Return what an image's row keeps of a scan: its slice, the values shown black and white."""
    black, white = limits or (None, None)
    return {"slice": index, "black": black, "white": white, "unit": unit}
