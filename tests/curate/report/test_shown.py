"""What a demo shows on the report's page: panels side by side, a difference in signed colours."""

import base64
import io

import numpy as np
from PIL import Image

from curate.report.shown import ShownCases, keep_shown, kept_shown, row, seen, signed
from curate.workspace import Workspace
from generators.sample import Sample


def test_a_difference_is_white_where_nothing_changed_red_where_more_and_blue_where_less() -> None:
    first = Sample(np.full((1, 1, 3), 100, np.uint8))
    second = Sample(np.array([[[100, 228, 0]]], np.uint8))
    same, more, less = signed(first, second, 128)[0].tolist()
    assert same == [255, 255, 255]
    assert more == [178, 24, 43]  # at the scale's end
    assert less[2] > less[1] > less[0]


def test_panels_stand_side_by_side_and_a_volume_as_slices_below_each_other(
    workspace: Workspace,
) -> None:
    picture, volume = Sample(np.zeros((1, 8, 8), np.uint8)), np.full((1, 9, 8, 8), 40, np.int16)
    assert seen(picture).shape == (8, 8, 3)
    assert seen(Sample(volume, "HU")).shape == (5 * 8, 8, 3)
    one = row("a case", [seen(picture), seen(picture), signed(picture, picture, 1)])
    encoded = base64.b64decode(one.uri.partition(",")[2])
    assert Image.open(io.BytesIO(encoded)).size == (3 * 128, 128)
    assert kept_shown(workspace) is None
    shown = ShownCases("a note", ("a", "b", "b less a"), (one,))
    keep_shown(workspace, shown)
    assert kept_shown(workspace) == shown
