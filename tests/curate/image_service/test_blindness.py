"""Nothing but the pixels tells real from synthetic or good from bad: a classifier tries.

Two raters' streams of 1,000 items each, fetched through the running service as a browser would.
The stored files would give everything away: depth, size, metadata, length and order.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from curate.image_service.addresses import signed_urls
from curate.image_service.config import ImageServiceConfig
from curate.image_service.server import image_service
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Campaign
from tests.curate.image_service.blindness import Fetched, auc, with_changed
from tests.curate.image_service.study import Truth, make_study, truths

pytestmark = pytest.mark.slow

NUM_ITEMS = 1_000
BLIND, SEEN = 0.55, 0.9


@dataclass(frozen=True)
class Streams:
    """All that two raters' browsers got, and what it should not tell."""

    items: list[Fetched]
    truths: list[Truth]
    stored: list[bytes]  # the files as they lie in the store

    def real(self) -> list[bool]:
        return [truth.is_real for truth in self.truths]

    def good(self) -> list[bool]:
        return [truth.is_good for truth in self.truths]

    def every_third(self) -> "Streams":
        """Enough to find what is plain to see."""
        return Streams(self.items[::3], self.truths[::3], self.stored[::3])


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    folder = tmp_path_factory.mktemp("blind") / "workspace"
    init_workspace(folder)
    with open_workspace(folder) as ws:
        yield fetched(ws, make_study(ws, num_images=NUM_ITEMS))


def fetched(ws: Workspace, campaign: Campaign) -> Streams:
    hidden = truths(ws, campaign)
    items, known, stored = [], [], []
    page = "http://127.0.0.1:8090"
    config = ImageServiceConfig(port=0, origins=(page,))
    with (
        image_service(ws, config) as service,
        httpx.Client(headers={"Origin": page}, timeout=60) as browser,
    ):
        urls = signed_urls(ws, campaign, base_url=service.url)
        shown = queries.campaigns.shown_images(ws.session, campaign.id)  # each rater's, in order
        for number, image in enumerate(shown):
            url = urls[image.assignment_id, image.name]
            answer = browser.get(url)
            assert answer.status_code == 200
            texts = {"uid": str(image.assignment_id), "address": url}
            place = number % NUM_ITEMS
            items.append(Fetched(place, texts, dict(answer.headers), answer.content))
            known.append(hidden[image.assignment_id])
            stored.append(ws.store.get(image.file_sha256))
    return Streams(items, known, stored)


def test_a_classifier_cannot_tell_real_from_synthetic(streams: Streams) -> None:
    assert len(streams.items) == 2 * NUM_ITEMS
    assert auc(streams.items, streams.real()) <= BLIND


def test_a_classifier_cannot_tell_good_from_bad(streams: Streams) -> None:
    assert auc(streams.items, streams.good()) <= BLIND


def leak_by_order(streams: Streams) -> list[Fetched]:
    """The best first."""
    order = sorted(range(len(streams.items)), key=lambda n: not streams.truths[n].is_good)
    places = {number: place for place, number in enumerate(order)}
    return [with_changed(item, place=places[n]) for n, item in enumerate(streams.items)]


def leak_by_compression(streams: Streams) -> list[Fetched]:
    """PNG as usual: smooth pictures are shorter."""
    return [with_changed(item, body=encoded_again(item.body, 6)) for item in streams.items]


def leak_by_name(streams: Streams) -> list[Fetched]:
    """A name that begins with the generator version's number."""
    return [
        with_changed(item, texts={**item.texts, "name": f"{'a' if t.is_good else 'b'}-{n}.png"})
        for n, (item, t) in enumerate(zip(streams.items, streams.truths, strict=True))
    ]


def leak_by_metadata(streams: Streams) -> list[Fetched]:
    """A score in the file's text."""
    return [
        with_changed(item, body=encoded_again(item.body, 0, score="0.93" if t.is_good else None))
        for item, t in zip(streams.items, streams.truths, strict=True)
    ]


def leak_by_header(streams: Streams) -> list[Fetched]:
    """The moment at which a file was written: the good ones were made last."""
    return [
        with_changed(item, headers={**item.headers, "x-file-time": str(10_000 + n // 3 + 999 * t)})
        for n, item in enumerate(streams.items)
        for t in [streams.truths[n].is_good]
    ]


@pytest.mark.parametrize(
    "leak", [leak_by_order, leak_by_compression, leak_by_name, leak_by_metadata, leak_by_header]
)
def test_the_same_classifier_finds_a_planted_leak(streams: Streams, leak: object) -> None:
    assert callable(leak)
    few = streams.every_third()
    assert auc(leak(few), few.good()) > SEEN


def test_the_stored_files_themselves_would_tell(streams: Streams) -> None:
    """Depth, size and metadata: why nobody is ever given them."""
    few = streams.every_third()
    bare = [with_changed(item, body=body) for item, body in zip(few.items, few.stored, strict=True)]
    assert auc(bare, few.real()) > SEEN


def encoded_again(body: bytes, level: int, *, score: str | None = None) -> bytes:
    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    if score is not None:
        text.add_text("score", score)
    with PillowImage.open(io.BytesIO(body)) as picture:
        picture.save(buffer, format="PNG", compress_level=level, pnginfo=text)
    return buffer.getvalue()


def test_local_files_tell_as_little(tmp_path: Path, workspace: Workspace) -> None:
    """Names, lengths and moments of the files that Label Studio would serve."""
    from curate.image_service.addresses import local_files

    campaign = make_study(workspace, num_images=60)
    local_files(workspace, campaign, document_root=tmp_path)
    found = {
        (path.stat().st_size, path.stat().st_mtime_ns, len(path.name))
        for path in tmp_path.rglob("*.png")
    }
    assert len(found) == 1
