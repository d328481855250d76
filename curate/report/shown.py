"""What a demo's family shows of its samples, for the report's page: pictures in rows.

Written once, when the circle ends, since it needs the truth of procedural data. Shapes: H x W.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from curate.report.pictures import png_uri
from curate.samples.pixels import png_bytes
from curate.samples.rendered import levels_of, signed_colours, slices_of
from curate.workspace import Workspace
from db.folders import replace_file
from generators.sample import Sample

FILE = "shown.json"  # in the workspace's reports
PANEL = 128  # pixels of a panel's longer side, at least
SLICES = 5  # of a volume, one below the other

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class ShownRow:
    """One case: what is said of it, and its panels as the data URI of one picture."""

    says: str
    uri: str


@dataclass(frozen=True)
class ShownCases:
    """Rows of pictures, what their panels are, and a note on how to read them."""

    note: str
    panels: tuple[str, ...]
    rows: tuple[ShownRow, ...]


def seen(sample: Sample) -> Levels:
    """Return a sample as a panel: uint8 [H, W, 3]; a volume as some of its slices."""
    levels = levels_of(np.concatenate(list(slices_of(sample, SLICES)), axis=1))
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels


def signed(first: Sample, second: Sample, scale: float) -> Levels:
    """Return the second less the first: blue is less, white equal, red more; +-`scale` is full."""
    change = second.array.astype(np.float32) - first.array.astype(np.float32)
    half = Sample(np.clip(change / scale, -1, 1) / 2 + np.float32(0.5))  # a picture: 0 .. 1
    shares = np.concatenate(list(slices_of(half, SLICES)), axis=1)[0] * 2 - 1
    return signed_colours(shares)


def row(says: str, panels: Sequence[Levels]) -> ShownRow:
    """Return panels side by side, enlarged without smoothing."""
    joined = np.concatenate(panels, axis=1)
    factor = max(1, -(-PANEL // max(panels[0].shape[:2])))
    size = (joined.shape[1] * factor, joined.shape[0] * factor)
    large = PillowImage.fromarray(joined).resize(size, PillowImage.Resampling.NEAREST)
    return ShownRow(says, png_uri(png_bytes(np.asarray(large))))


def keep_shown(ws: Workspace, shown: ShownCases) -> None:
    """Keep what the report's page shows from now on."""
    plain = {
        "note": shown.note,
        "panels": list(shown.panels),
        "rows": [vars(one) for one in shown.rows],
    }
    replace_file(ws.folder / "reports" / FILE, json.dumps(plain).encode())


def kept_shown(ws: Workspace) -> ShownCases | None:
    """Return what was kept, if anything was."""
    path = ws.folder / "reports" / FILE
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = tuple(ShownRow(**one) for one in found["rows"])
    return ShownCases(found["note"], tuple(found["panels"]), rows)
