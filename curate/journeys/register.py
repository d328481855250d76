"""`curate journeys register`: each new film laid onto its prior, whose bytes stay as imported.

Correlation finds bad geometry; two patients under one id it finds seldom, since chests are alike:
pairs of strangers, registered the same way, say how alike.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError
from curate.journeys.config import RegisterConfig
from curate.journeys.geometry import (
    Grey,
    Move,
    Registration,
    field_of,
    film_image,
    register,
)
from curate.progress import ShowProgress
from curate.samples.formats import read_sample
from curate.samples.pixels import png_bytes
from curate.samples.renderings import rgb
from curate.workspace import Workspace
from db import queries
from db.models import Image
from db.queries.journeys import Pair

METHOD = "phase correlation and similarity, 1"  # a change of what it computes is a new number
NUM_BINS = 20  # of the histogram over -1 .. 1
SHOWN_PAIRS, TILE = 12, 128
A_BATCH = 32  # pairs that a kill can cost


@dataclass(frozen=True)
class Registered:
    """What became of the pairs."""

    ncc: list[float]
    before: list[float]
    strangers: list[float]
    kept: int
    dropped: list[str]  # named, with the reason
    sheet: str | None

    @property
    def doubtful(self) -> int:
        """Count pairs that correlate less than nine of ten pairs of strangers do."""
        if not self.strangers:
            return 0
        bar = float(np.quantile(self.strangers, 0.9))
        return sum(value < bar for value in self.ncc)

    def counts(self, values: Sequence[float]) -> Any:
        """Return a histogram."""
        return np.histogram(values, NUM_BINS, (-1, 1))[0]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the histogram among them."""
        return {
            **asdict(self),
            "below_strangers_90": self.doubtful,
            "edges": np.linspace(-1, 1, NUM_BINS + 1).round(2).tolist(),
            "histogram": self.counts(self.ncc).tolist(),
            "histogram_strangers": self.counts(self.strangers).tolist(),
        }

    def lines(self) -> list[str]:
        """Return the histogram of pairs and strangers, and the numbers."""
        if not self.ncc:
            return [f"{self.kept} pairs taken as they lie"]
        pairs, strangers = self.counts(self.ncc), self.counts(self.strangers)
        edges = np.linspace(-1, 1, NUM_BINS + 1)
        rows = [
            f"{low:5.1f} .. {high:4.1f}  {one:5d} {'#' * round(40 * one / max(1, pairs.max()))}"
            f"{'':2}{other:4d} strangers"
            for low, high, one, other in zip(edges[:-1], edges[1:], pairs, strangers, strict=True)
            if one or other
        ]
        lost = [f"dropped: {one}" for one in self.dropped[:20]]
        more = len(self.dropped) - 20
        return [
            "correlation     pairs",
            *rows,
            *lost,
            *([f"... and {more} more (--json lists all)"] if more > 0 else []),
            f"median {np.median(self.before):.2f} as they lay, {np.median(self.ncc):.2f} "
            f"registered; {self.kept} pairs kept, {len(self.dropped)} dropped",
            *(
                [
                    f"{self.doubtful} pairs correlate less than nine of ten pairs of strangers: "
                    "look at them, one id may be two patients"
                ]
                if self.doubtful
                else []
            ),
            *([f"Contact sheet: {self.sheet}"] if self.sheet else []),
        ]


def register_journeys(ws: Workspace, config: RegisterConfig, show: ShowProgress) -> Registered:
    """Register what is not yet, and apply the thresholds to all; killed, it goes on from there."""
    pairs = queries.journeys.journeys(ws.session)
    if not pairs:
        raise CurateError("No pairs in this workspace: run `curate journeys import` or `demo`.")
    if config.skip:
        as_they_lie = {"registered_sha256": None, "transform": None, "ncc": None, "overlap": None}
        changes = {pair.journey.id: {**as_they_lie, "refused": None} for pair in pairs}
        queries.journeys.update_journeys(ws.session, changes)
        return Registered([], [], [], len(pairs), [], None)
    waiting = [pair for pair in pairs if pair.journey.transform is None]
    with show(len(waiting), "pairs registered") as advance:
        for start in range(0, len(waiting), A_BATCH):
            some = waiting[start : start + A_BATCH]
            done = {pair.journey.id: _registered_columns(ws, pair) for pair in some}
            queries.journeys.update_journeys(ws.session, done)
            advance(len(some))
    found, dropped, decided = queries.journeys.journeys(ws.session), [], {}
    for pair in found:
        reason = config.why_not(pair.journey.ncc or 0.0, pair.journey.overlap or 0.0)
        decided[pair.journey.id] = {"refused": reason}
        if reason is not None:
            dropped.append(f"{pair.after.place}: {reason}")
    queries.journeys.update_journeys(ws.session, decided)
    transforms = [pair.journey.transform or {} for pair in found]
    made = Registered(
        ncc=[float(one["ncc"]) for one in transforms],
        before=[float(one["ncc_before"]) for one in transforms],
        strangers=_strangers(ws, found, config.strangers, show),
        kept=len(found) - len(dropped),
        dropped=dropped,
        sheet=_contact_sheet(ws, found),
    )
    counts = {"kept": made.kept, "dropped": len(dropped)}
    queries.audit.record_result(ws.session, "journeys register", {}, counts)
    return made


def _grey_of(ws: Workspace, image: Image) -> Grey:
    """Return a stored film as float32 [H, W] in 0 .. 1."""
    grey: Grey = rgb(read_sample(ws.store, image.file_sha256)).mean(0).numpy()
    return grey


def _laid_over(prior: Grey, new: Grey, move: Move) -> Grey:
    """Return the new film on the prior's pixels, as a training sees it.

    Mean and spread inside both fields become the prior's: exposure is no finding. Where the prior
    has a patient and the new film no data, the prior is shown: black wedges would be learned.
    """
    film, covered = film_image(new).laid(film_image(prior), move)
    field = field_of(prior)
    both = field & covered
    if both.any():
        spread = float(film[both].std())
        gain = float(prior[both].std()) / spread if spread > 1e-6 else 1.0
        film = (film - film[both].mean()) * gain + prior[both].mean()
    result: Grey = np.where(both, film, prior).clip(0, 1).astype(np.float32)
    return result


def _registered_columns(ws: Workspace, pair: Pair) -> dict[str, Any]:
    """Return a pair's columns: the move, what it is worth, and the file that is learned."""
    prior, new = _grey_of(ws, pair.prior), _grey_of(ws, pair.new)
    found: Registration = register(prior, new)
    levels = np.rint(_laid_over(prior, new, found.move) * 255).astype(np.uint8)
    [sha256] = queries.files.add_files(ws.session, ws.store, [(png_bytes(levels), "image/png")])
    return {
        "registered_sha256": sha256,
        "transform": {
            "method": METHOD,
            **asdict(found.move),
            "ncc": found.ncc,
            "ncc_before": found.ncc_before,
        },
        "ncc": float(np.clip(found.ncc, -1, 1)),
        "overlap": found.overlap,
    }


def _strangers(ws: Workspace, pairs: Sequence[Pair], count: int, show: ShowProgress) -> list[float]:
    """Return the correlations of films of different patients, registered the same way."""
    if len({pair.journey.patient for pair in pairs}) < 2 or not count:
        return []
    draw, values = random.Random(0), list[float]()
    with show(count, "pairs of strangers") as advance:
        while len(values) < count:
            one, other = draw.choice(pairs), draw.choice(pairs)
            if one.journey.patient == other.journey.patient:
                continue
            values.append(register(_grey_of(ws, one.prior), _grey_of(ws, other.new)).ncc)
            advance(1)
    return values


def _contact_sheet(ws: Workspace, pairs: Sequence[Pair]) -> str:
    """Write prior, new and registered film with what is left between them, worst pairs first."""
    ordered = sorted(pairs, key=lambda pair: pair.journey.ncc or 0.0)
    step = max(1, len(ordered) // SHOWN_PAIRS)
    rows, square = [], film_image(np.zeros((TILE, TILE), np.float32))
    for pair in ordered[::step][:SHOWN_PAIRS]:
        prior, new = _grey_of(ws, pair.prior), _grey_of(ws, pair.new)
        move = Move(**{k: (pair.journey.transform or {})[k] for k in asdict(Move())})
        film = _laid_over(prior, new, move)
        rest = np.abs(film - prior)
        tiles = [film_image(one).laid(square, Move())[0] for one in (prior, new, film, rest)]
        rows.append(np.hstack(tiles).clip(0, 1))
    path = ws.folder / "reports" / "journeys" / "registered.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(np.rint(np.vstack(rows) * 255).astype(np.uint8)))
    return str(Path(path).relative_to(ws.folder))
