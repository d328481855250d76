"""Whether a search by image finds images of the same finding, and how long one takes.

    python -m benchmarks.atlas_search WORKSPACE [--rows 100000]

Asks with each held-out real image (split val) for the nearest vetted images that are not held
out: precision@5 of finding and of modality among real and among synthetic ones, with 95 % intervals
over images, against chance (the share of that finding or modality among them). Then copies the
workspace, multiplies its images, and times whole searches by image and by words.
"""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import UUID

import numpy as np

from benchmarks.site_speed import multiply
from curate.atlas.config import SearchOptions
from curate.atlas.found import search_words
from curate.atlas.likeness import Searcher, read_likeness
from curate.samples.features import features_of
from curate.workspace import Workspace, open_workspace
from db import queries
from db.models import Image, Prompt
from db.queries.atlas import VettedImage

TOP = 5
REPEATS = 20
DRAWS = 1_000  # bootstrap


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "workspace"
        shutil.copytree(options.workspace, place, ignore=shutil.ignore_patterns("releases"))
        with open_workspace(place) as ws:
            searcher = Searcher()
            precision(ws, searcher)
            if options.rows:
                speed(ws, searcher, multiply(ws, options.rows))


def precision(ws: Workspace, searcher: Searcher) -> None:
    """Print precision@5 for held-out real images, among what is not held out."""
    known = queries.images.images(ws.session, origin="real")
    asked = [(image, prompt) for image, prompt in known if image.split == "val"]
    held_out = {image.pixels_sha256 for image, _ in asked}
    images = [one for one in queries.atlas.vetted(ws.session) if one.pixels_sha256 not in held_out]
    likeness = read_likeness(ws, searcher.backbone)
    features = features_of(ws, searcher.backbone, [image.file_sha256 for image, _ in asked])
    for origin in ("real", "synthetic"):
        of = {one.image_id: one for one in images if one.origin == origin}.get
        pool = [one for one in images if one.origin == origin]
        near = [
            list(islice((one for i, _ in likeness.ranked(own, None) if (one := of(i))), TOP))
            for own in (features if pool else ())
        ]
        for what in ("label", "modality") if pool else ():
            tell(f"{what} among {len(pool)} {origin} images", what, asked, near, pool)


def tell(
    name: str,
    what: str,
    asked: Sequence[tuple[Image, Prompt]],
    near: Sequence[Sequence[VettedImage]],
    pool: Sequence[VettedImage],
) -> None:
    """Print one figure beside its chance; a finding counts within its modality only."""

    def key(one: Prompt | VettedImage) -> tuple[str, ...]:
        return (one.modality, str(one.label)) if what == "label" else (one.modality,)

    share = Counter(key(one) for one in pool)
    hits = np.array(
        [
            np.mean([key(one) == key(prompt) for one in some])
            for (_, prompt), some in zip(asked, near, strict=True)
        ]
    )
    chance = np.mean([share[key(prompt)] / len(pool) for _, prompt in asked])
    draw = np.random.default_rng(0)
    means = [hits[draw.integers(0, len(hits), len(hits))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    print(
        f"precision@{TOP} of {name}: {hits.mean():.2f} [{low:.2f}, {high:.2f}] "
        f"over {len(hits)} held-out images; chance {chance:.3f}"
    )


def speed(ws: Workspace, searcher: Searcher, num_images: int) -> None:
    """Print the medians of whole searches with a warm process."""
    asked = [image.id for image, _ in queries.images.images(ws.session, limit=REPEATS)]
    began = time.process_time()
    searcher.by_image(ws, asked[0], SearchOptions())
    print(f"{num_images:,} images: read in {time.process_time() - began:.1f} s of processor time")
    searches: dict[str, Callable[[UUID], object]] = {
        "image": lambda image_id: searcher.by_image(ws, image_id, SearchOptions()),
        "words": lambda _: search_words(ws, "pneumonia or drusen", modality=None, count=8),
    }
    for name, search in searches.items():
        used, passed = [], []
        for image_id in asked:
            began, started = time.process_time(), time.perf_counter()
            search(image_id)
            used.append(time.process_time() - began)
            passed.append(time.perf_counter() - started)
        print(
            f"by {name}: {1000 * median(used):.0f} ms of processor time, "
            f"{1000 * median(passed):.0f} ms passed; medians of {len(asked)}"
        )


if __name__ == "__main__":
    main()
