"""A real Label Studio's stream tells nothing; for 1,000 images: benchmarks/label_stream.py."""

import pytest

from curate.workspace import Workspace
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.stream import blind_stream
from tests.curate.image_service.blindness import auc, spread_by_chance
from tests.curate.image_service.study import add_images

pytestmark = [pytest.mark.slow, pytest.mark.apart]

NUM_IMAGES = 60
SEEN = 0.9


def test_what_a_raters_own_login_is_given_does_not_tell_and_a_planted_order_does(
    ws: Workspace, served: Served
) -> None:
    images = add_images(ws, 2 * NUM_IMAGES)
    ann, ben = served.raters["ann"], served.raters["ben"]
    stream = blind_stream(ws, [ann, ben], images[::2], name="blind", leaking=False)
    for hidden in (stream.real(), stream.good()):
        assert auc(stream.items, hidden) < 0.5 + 3.5 * spread_by_chance(hidden)
    leak = blind_stream(ws, [ann], images[1::2], name="leak", leaking=True)
    assert auc(leak.items, leak.good()) > SEEN
