"""How a DICOM file says that its values are shown: PS3.3 C.11.2 (VOI LUT) and C.7.6.3.1.2."""

from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom import Dataset

from curate.importing.config import ImportConfig
from curate.importing.errors import Refused, foreign
from curate.importing.grey import Limits, given_limits, shown_how, to_grey, window_limits
from curate.importing.header import numbers, through_table, unit_of, value_of
from curate.importing.picture import Array, Say

VOI_GROUP = "FrameVOILUTSequence"


def shown(
    dataset: Dataset,
    values: Array,
    index: int,
    config: ImportConfig,
    say: Say,
    full: Callable[[], Limits],
) -> tuple[Array, dict[str, Any]]:
    """Return a grey frame as uint8, bone white, and how it was made; `full` finds the extremes."""
    table = value_of(dataset, index, VOI_GROUP, "VOILUTSequence")
    how = shown_how(index, None, unit_of(dataset, index))
    if config.window == "header" and table:
        with foreign("its VOI LUT cannot be read"):
            levels, bits = through_table(
                values, table[0], dataset.original_encoding[1] is not False
            )
        grey = to_grey(levels, 0, 2**bits - 1)
        how["function"] = "VOI LUT"
    elif config.window == "header" and _function(dataset, index) == "SIGMOID":
        center, width = header_window(dataset, index, say) or (0.0, 0.0)
        if width <= 0:
            raise Refused("a SIGMOID window without a width above 0 (PS3.3 C.11.2.1.3.1)")
        with np.errstate(over="ignore"):
            grey = to_grey(1 / (1 + np.exp(-4 * (values - center) / width)), 0, 1)
        how |= {"function": "SIGMOID", "center": center, "width": width}
    else:
        limits = limits_of(dataset, values, index, config, say, full)
        grey = values.astype(np.uint8) if limits is None else to_grey(values, *limits)
        how = shown_how(index, limits, how["unit"])
    return (255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey), how


def limits_of(
    dataset: Dataset,
    values: Array,
    index: int,
    config: ImportConfig,
    say: Say,
    full: Callable[[], Limits],
) -> Limits | None:
    """Return the values shown black and white, or None for 8-bit values shown as they are."""
    if config.window == "full":
        return full()
    if config.window != "header":
        return given_limits(*config.window)
    window = header_window(dataset, index, say)
    if window is None:
        if values.min() >= 0 and int(dataset.BitsStored) == 8 and values.max() <= 255:
            return None
        raise Refused("no window in its header: give --window center,width or --window full")
    center, width = window
    function = _function(dataset, index)
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise Refused(f"its window is of kind {function}: give --window center,width")
    if width <= 0:
        raise Refused(f"its window is {width:g} wide (PS3.3 C.11.2.1.2): give --window")
    if function == "LINEAR" and width < 1:
        say(f"its window is {width:g} wide, which LINEAR cannot be: read as LINEAR_EXACT")
        function = "LINEAR_EXACT"
    return window_limits(center, width, function)


def header_window(dataset: Dataset, index: int, say: Say) -> tuple[float, float] | None:
    """Return the first window (center, width) of a header, if it has one."""
    center = numbers(value_of(dataset, index, VOI_GROUP, "WindowCenter"))
    width = numbers(value_of(dataset, index, VOI_GROUP, "WindowWidth"))
    if not center or not width:
        return None
    if len(center) > 1:
        say(f"the first of {len(center)} windows in the header is used: {center[0]},{width[0]}")
    return center[0], width[0]


def _function(dataset: Dataset, index: int) -> str:
    return str(value_of(dataset, index, VOI_GROUP, "VOILUTFunction", None) or "LINEAR").upper()
