"""The sets of `curate utility`, and what their generator has seen of the real images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.evaluation.sets import ImageSet, patients_on_both_sides, read_set, real_set
from curate.workspace import open_workspace
from db.hashing import json_hash


@dataclass(frozen=True)
class UtilitySides:
    """Real images to learn from, those of other patients to test on, and synthetic sets."""

    train: ImageSet
    test: ImageSet
    sets: tuple[ImageSet, ...]
    notes: tuple[str, ...]  # what a reader of the figures should know

    @property
    def identity(self) -> list[str]:
        """Return a hash of each set's images: results are kept under it."""
        return [json_hash([one.name, one.hashes]) for one in (self.train, self.test, *self.sets)]


def read_sides(
    real: Path, test: Path, releases: Sequence[Path], *, cache: Path, workspace: Path | None = None
) -> UtilitySides:
    """Read the sets; CurateError where a test patient was trained on.

    A workspace's real images of split train, or of none, are what its generators have seen.
    """
    train, held_out = read_set(real, cache=cache), read_set(test, cache=cache)
    sets = [read_set(path, cache=cache, only_synthetic=True) for path in releases]
    twice = [name for name, count in Counter(one.name for one in sets).items() if count > 1]
    if twice:
        raise CurateError(f"Two sets are called {twice[0]!r}: rename one of the folders or tables.")
    _refuse(train, held_out, "among the training images")
    notes = [line for one in (train, held_out, *sets) for line in one.refused]
    if workspace is None:
        notes.append("no --workspace: whether a generator saw test patients cannot be told")
    else:
        with open_workspace(workspace) as ws:
            seen = real_set(ws, ("train", None))
        _refuse(seen, held_out, "in the generator's lineage")
        counts = Counter(image.shown for image in seen.images)
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        notes.append(f"real images that the workspace's generators may have seen: {told or 'none'}")
    return UtilitySides(train, held_out, tuple(sets), tuple(notes))


def _refuse(seen: ImageSet, test: ImageSet, where: str) -> None:
    both = patients_on_both_sides(seen, test)
    if both:
        raise CurateError(
            f"{len(both)} test patients stand {where}, as {both[0]}: the test would ask what was "
            "learned. Take other patients with --test."
        )
