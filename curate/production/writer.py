"""Pixels to files and rows, off the critical path: encoded by threads, written in batches by two.

One thread makes a batch's files durable while another records the rows of the batches before: a
file is durable before its row exists. Killed at any moment, a run loses what was not recorded yet,
at most some seconds' work, and leaves nothing half-done.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from curate.production.images import Pixels, no_numbers, sample_of, share_at
from curate.production.patience import Note, patiently
from curate.production.plan import Item
from curate.samples.formats import SampleFile, pixels_of
from curate.samples.formats import encode as encode_sample
from curate.samples.pixels import pixels_hash
from db.engine import Engine, Session, open_session

FLUSH_IMAGES = 512  # files and rows are made durable in batches of about this many
FLUSH_SECONDS = 2.0  # or this often
WAITING_BATCHES = 8  # more than so many unwritten ones, and the generator waits: memory stays flat
MAX_ENCODERS = 8
WAITING_FILES = 2  # batches of them that the disk has to do: it never waits for the database


@dataclass(frozen=True)
class Encoded:
    """One image, ready to be kept."""

    item: Item
    file: SampleFile
    pixels_sha256: str
    geometry: dict[str, Any]  # shape, unit, spacing, affine: by their columns
    environment: dict[str, Any]  # what it was made in
    clipped: float | None  # share of voxels at the ends of the generator's HU, where it has ends


@dataclass
class Clipped:
    """How much of what was made lies at the ends of the generator's HU."""

    num: int = 0  # images
    total: float = 0.0  # of their shares
    most: float | None = None

    @property
    def mean(self) -> float | None:
        """Return the mean share; None where no image has ends."""
        return self.total / self.num if self.num else None

    def add(self, share: float) -> None:
        """Count an image."""
        self.num, self.total = self.num + 1, self.total + share
        self.most = max(share, self.most or 0.0)


@dataclass(frozen=True)
class EncodedBatch:
    """What became of a batch of items."""

    images: list[Encoded]
    broken: list[Item]  # NaN or infinite pixels


def encode(items: Sequence[Item], pixels: Pixels) -> EncodedBatch:
    """Wait for the pixels and return them as files; what is not finite is left out."""
    whole = pixels.is_finite_B.tolist()
    found = EncodedBatch([], [])
    for item, levels, prompt, is_whole in zip(
        items, pixels.levels, pixels.prompts, whole, strict=True
    ):
        if not is_whole:
            found.broken.append(item)
            continue
        sample = sample_of(levels, pixels.kind, prompt)
        geometry = {
            "shape": list(sample.array.shape),
            "unit": sample.kind,
            "spacing_mm": None if sample.spacing_mm is None else list(sample.spacing_mm),
            "affine": None if sample.affine is None else [list(row) for row in sample.affine],
        }
        file, pixels_sha256 = encode_sample(sample), pixels_hash(pixels_of(sample))
        clipped = None if pixels.ends is None else share_at(pixels.ends, levels)
        found.images.append(
            Encoded(item, file, pixels_sha256, geometry, pixels.environment, clipped)
        )
    return found


class Keeper(Protocol):
    """Where images go. Kept twice, a batch is there once."""

    def store(self, images: Sequence[Encoded]) -> list[str]:
        """Make the files durable, in a thread of their own; return their SHA-256s, in order.

        Raises StoreError where they cannot be kept, as on a full disk.
        """
        ...

    def record(self, session: Session, images: Sequence[Encoded], hashes: Sequence[str]) -> int:
        """Add the rows of stored images; return how many were new."""
        ...


@dataclass(frozen=True)
class _Stored:
    """A batch whose files are being made durable, or are."""

    images: Sequence[Encoded]
    hashes: Future[list[str]]


class Writer:
    """A queue of batches, encoders that work on them side by side, and two threads that write."""

    def __init__(self, engine: Engine, keeper: Keeper, note: Note) -> None:
        """Begin; the session that the keeper is given is the recording thread's own."""
        self._engine, self._keeper, self._note = engine, keeper, note
        num_encoders = min(MAX_ENCODERS, os.cpu_count() or 1)
        self._encoders = ThreadPoolExecutor(num_encoders, thread_name_prefix="encoder")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._stored: deque[_Stored] = deque()  # and not recorded yet, in order
        self._queue: queue.Queue[Future[EncodedBatch] | None] = queue.Queue(WAITING_BATCHES)
        self._failure: BaseException | None = None
        self._is_closed = False  # the end of the queue was taken from it: nothing more comes
        self._num_taken = self._num_written = self._num_new = 0
        self.broken: list[Item] = []
        self.clipped = Clipped()
        self._thread = threading.Thread(target=self._work, name="writer")
        self._thread.start()

    def add(self, items: Sequence[Item], pixels: Pixels) -> None:
        """Take a batch; wait while too many are unwritten. Raises what writing has failed with."""
        self._put(self._encoders.submit(encode, items, pixels))

    def add_encoded(self, batch: EncodedBatch) -> None:
        """Take a batch that another process has encoded."""
        done: Future[EncodedBatch] = Future()
        done.set_result(batch)
        self._put(done)

    def take_written(self) -> int:
        """Return how many images were written, or found broken, since the last call."""
        written, self._num_written = self._num_written, 0
        return written

    @property
    def num_new(self) -> int:
        """Return how many images were new to the database."""
        return self._num_new

    def close(self) -> None:
        """Write all that was taken. Raises what writing has failed with."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._encoders.shutdown(cancel_futures=True)
        self._disk.shutdown()
        self._raise_failure()

    def _put(self, batch: Future[EncodedBatch]) -> None:
        self._raise_failure()
        self._queue.put(batch)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            with open_session(self._engine) as session:
                self._write_all(session)
        except BaseException as failure:  # noqa: B036  (raised again where the batches come from)
            self._failure = failure
            while not self._is_closed:  # else the generator would wait for ever
                self._is_closed = self._queue.get() is None

    def _write_all(self, session: Session) -> None:
        """Take batches until there are no more; store and record many at once."""
        waiting: list[Encoded] = []
        last_flush = time.monotonic()
        while not self._is_closed:
            patience = last_flush + FLUSH_SECONDS - time.monotonic()
            try:
                future = self._queue.get(timeout=max(patience, 0.01))
            except queue.Empty:
                pass
            else:
                self._is_closed = future is None
                if future is not None:
                    waiting += self._taken(future.result())
            is_late = time.monotonic() - last_flush >= FLUSH_SECONDS
            if len(waiting) >= FLUSH_IMAGES or is_late or self._is_closed:
                if waiting:
                    hashes = self._disk.submit(self._keeper.store, waiting)
                    self._stored.append(_Stored(waiting, hashes))
                while len(self._stored) > WAITING_FILES:
                    self._record(session)
                waiting, last_flush = [], time.monotonic()
            while self._stored and self._stored[0].hashes.done():
                self._record(session)
        while self._stored:
            self._record(session)

    def _taken(self, batch: EncodedBatch) -> list[Encoded]:
        """Count a batch; a generator that makes little but NaN is not worth its time."""
        self.broken += batch.broken
        for image in batch.images:
            if image.clipped is not None:
                self.clipped.add(image.clipped)
        self._num_taken += len(batch.images) + len(batch.broken)
        self._num_written += len(batch.broken)
        if batch.broken and len(self.broken) > self._num_taken / 2:
            raise no_numbers(len(self.broken), self._num_taken, self.broken[0].seed)
        return batch.images

    def _record(self, session: Session) -> None:
        """Add the rows of the batch that was stored first."""
        images, hashes = self._stored[0].images, self._stored[0].hashes.result()
        self._stored.popleft()

        def add_rows() -> int:
            return self._keeper.record(session, images, hashes)

        self._num_new += patiently(add_rows, session, self._note)
        self._num_written += len(images)
