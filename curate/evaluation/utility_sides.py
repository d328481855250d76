"""The sets of `curate utility`, and what their generator has seen of the real images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from curate.errors import CurateError
from curate.evaluation.compare import patients_on_both_sides
from curate.evaluation.config import UtilityConfig
from curate.evaluation.sets import ImageSet, read_set, real_set
from curate.evaluation.utility import Utility, measure_utility
from curate.progress import ShowProgress
from curate.workspace import open_workspace
from rewards.backbones import load_backbone


def utility_of_tables(
    real: Path,
    test: Path,
    releases: Sequence[Path],
    config: UtilityConfig,
    progress: ShowProgress,
    *,
    cache: Path,
    workspace: Path | None = None,
) -> Utility:
    """Read the sets and measure; CurateError where a test patient was trained on.

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
    backbone = load_backbone(config.features)
    return measure_utility((train, held_out), sets, backbone, config, progress, notes)


def _refuse(seen: ImageSet, test: ImageSet, where: str) -> None:
    both = patients_on_both_sides(seen, test)
    if both:
        raise CurateError(
            f"{len(both)} test patients stand {where}, as {both[0]}: the test would ask what was "
            "learned. Take other patients with --test."
        )
