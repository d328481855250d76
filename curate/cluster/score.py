"""Scores on a Ray cluster: workers compute features, this process makes scores and rows of them.

Pages, batches and order are those of one machine, and so are the rows, to the bit on equal CPUs: a
killed worker costs the batches it had.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from curate.cluster.crew import Crew
from curate.cluster.feature_worker import Features, FeatureWorker, Files
from curate.cluster.joining import connected
from curate.samples.features import IMAGES_A_BATCH, keep_features, missing_features
from curate.scoring.score import Page, Scored, Which, known_to, score_images
from curate.verified import verified_path
from curate.workspace import Workspace
from db.models import RewardModel as RewardModelRow
from rewards.model import RewardModel

Note = Callable[..., None]


def score_images_on_ray(
    ws: Workspace,
    row: RewardModelRow,
    *,
    advance: Callable[[int], None],
    address: str,
    note: Note,
    which: Which | None = None,
    model: RewardModel | None = None,
) -> Scored:
    """Score what is not scored yet, as `curate.scoring.score.score_images` does.

    `address` is a cluster's HOST:PORT, or "auto" (`curate.cluster.joining.connected`);
    `note(event, **details)` is told of workers that were lost.
    """
    model = model or RewardModel.load(verified_path(ws, row.file_sha256))
    ws.session.commit()
    with connected(address):
        crew: Crew[Files, Features] = Crew(FeatureWorker, model.backbone, note)
        ahead = partial(_Ahead(ws, model).pages, crew)
        try:
            return score_images(ws, row, advance=advance, which=which, model=model, ahead=ahead)
        finally:
            crew.dismiss()


class _Ahead:
    """Pages whose features are being computed; they leave in the order in which they came."""

    def __init__(self, ws: Workspace, model: RewardModel) -> None:
        self._ws, self._model = ws, model
        self._pages: dict[int, Page] = {}
        self._num_batches: dict[int, int] = {}  # of a page, that are not back yet
        self._on_the_way: set[str] = set()  # images of these pages: equal files are sent once

    def pages(self, crew: Crew[Files, Features], pages: Iterator[Page]) -> Iterator[Page]:
        """Yield each page when the cache holds its features, the oldest first."""
        for answer in crew.work(self._batches(pages)):
            keep_features(self._ws, self._model.backbone, answer.features)
            self._on_the_way -= answer.features.keys()
            self._num_batches[answer.page] -= 1
            while self._pages and not self._num_batches[oldest := next(iter(self._pages))]:
                del self._num_batches[oldest]
                yield self._pages.pop(oldest)

    def _batches(self, pages: Iterator[Page]) -> Iterator[Files]:
        for number, page in enumerate(pages):
            self._ws.session.commit()  # no transaction stays open while others work
            files: list[Any] = [image.file_sha256 for image, _ in known_to(self._model, page)]
            missing = missing_features(self._ws, self._model.backbone, files)
            missing = [sha256 for sha256 in missing if sha256 not in self._on_the_way]
            starts = range(0, len(missing), IMAGES_A_BATCH) or range(1)
            self._pages[number], self._num_batches[number] = page, len(starts)
            self._on_the_way.update(missing)
            for start in starts:
                some = missing[start : start + IMAGES_A_BATCH]
                yield Files(number, {sha256: self._ws.store.get(sha256) for sha256 in some})
