"""Features of stored images, kept by image hash and backbone version.

One small SQLite file a backbone version in the workspace's cache: reading a few of a million costs
a few, and two commands may write at once. It may be deleted at any time. Shapes: N images,
D features.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from curate.errors import is_full_disk
from curate.samples.formats import decode
from curate.samples.renderings import for_backbones
from curate.samples.stored import Bytes, batches_of
from rewards.backbones import Backbone

IMAGES_A_BATCH = 64
HASHES_A_QUERY = 900  # SQLite has always taken 999 values a statement
WAIT_S = 60.0  # for another command that is writing


class Held(Protocol):
    """What holds images: a workspace, or a set of images to measure."""

    @property
    def store(self) -> Bytes:
        """Return where the bytes are."""
        ...

    @property
    def cache(self) -> Path:
        """Return the folder of what can be computed again."""
        ...


def features_of(held: Held, backbone: Backbone, sha256s: Sequence[str]) -> Tensor:
    """Return the backbone's features [N, D] of stored images; those seen before are not computed.

    A cache that cannot be read is made again.
    """
    return features_of_renderings(
        held, backbone, sha256s, lambda sha256: for_backbones(decode(held.store.get(sha256)))
    )


@torch.no_grad()
def features_of_renderings(
    held: Held, backbone: Backbone, names: Sequence[str], rendering: Callable[[str], Tensor]
) -> Tensor:
    """Return the backbone's features [N, D] of renderings, kept by names that say all of them."""
    with closing(_open(_path(held, backbone))) as cache:
        features_ND = torch.zeros(len(names), backbone.dim)
        known = _read(cache, sorted(set(names)), backbone.dim)
        missing = sorted(set(names) - known.keys())
        for positions, images in batches_of(missing, IMAGES_A_BATCH, rendering):
            features_BD = backbone.features(images)
            new = {missing[p]: f.clone() for p, f in zip(positions, features_BD, strict=True)}
            _write(cache, new)
            known |= new
        for place, name in enumerate(names):
            features_ND[place] = known[name]
    return features_ND


def missing_features(held: Held, backbone: Backbone, sha256s: Sequence[str]) -> list[str]:
    """Return which of the images have no features in the cache, each once, sorted."""
    with closing(_open(_path(held, backbone))) as cache:
        several = sorted(set(sha256s))
        return sorted(set(several) - _read(cache, several, backbone.dim).keys())


def keep_features(held: Held, backbone: Backbone, features: dict[str, Tensor]) -> None:
    """Put features [D] by image hash into the cache, computed elsewhere by this backbone."""
    with closing(_open(_path(held, backbone))) as cache:
        _write(cache, features)


def _path(held: Held, backbone: Backbone) -> Path:
    return held.cache / "features" / f"{backbone.fingerprint[:32]}.sqlite"


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(path, timeout=WAIT_S)
    try:
        cache.execute("CREATE TABLE IF NOT EXISTS features (sha256 TEXT PRIMARY KEY, values_ BLOB)")
        cache.execute("SELECT count(*) FROM (SELECT 1 FROM features LIMIT 1)").fetchone()
    except sqlite3.DatabaseError as error:
        cache.close()
        if is_full_disk(error):  # nothing is remembered then, and the work goes on
            return _open(Path(":memory:"))
        path.unlink()  # torn: what it held can be computed again
        return _open(path)
    return cache


def _read(cache: sqlite3.Connection, sha256s: Sequence[str], dim: int) -> dict[str, Tensor]:
    known: dict[str, Tensor] = {}
    for start in range(0, len(sha256s), HASHES_A_QUERY):
        some = sha256s[start : start + HASHES_A_QUERY]
        marks = ", ".join("?" * len(some))
        query = f"SELECT sha256, values_ FROM features WHERE sha256 IN ({marks})"
        for sha256, values in cache.execute(query, some):
            if len(values) == 4 * dim:
                known[sha256] = torch.from_numpy(np.frombuffer(values, np.float32).copy())
    return known


def _write(cache: sqlite3.Connection, features: dict[str, Tensor]) -> None:
    rows = [(sha256, values.numpy().tobytes()) for sha256, values in features.items()]
    try:
        with cache:
            cache.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
    except sqlite3.Error as error:
        if not is_full_disk(error):  # a full cache stops no work: they are computed again
            raise
