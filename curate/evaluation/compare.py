"""Which sets `curate evaluate` measures, and beside which real images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.evaluation.axes import Axes, matched, measure_axes
from curate.evaluation.config import UTILITY, AxesConfig, EvaluationConfig
from curate.evaluation.downstream import Downstream, downstream_of
from curate.evaluation.label_classifier import teaches_filter
from curate.evaluation.minim import MinimTable, minim_table
from curate.evaluation.sets import (
    ImageSet,
    SetImage,
    decided_sets,
    patients_on_both_sides,
    read_set,
    real_set,
    version_set,
)
from curate.progress import ShowProgress
from curate.workspace import Workspace
from db import queries
from rewards.backbones import load_backbone

HELD_OUT = ("val", "test")
REAL_TIMES = 10  # as many real images as of a set: distances between all pairs bound the memory


@dataclass(frozen=True)
class SetsCompared:
    """Every set along the axes, and what a reader of the table should know."""

    sets: tuple[Axes, ...]
    notes: tuple[str, ...]
    table: MinimTable | None = None  # in place of the axes, where it is asked for
    downstream: Downstream | None = None
    # whose pictures a page shows
    images: tuple[ImageSet, ...] = ()
    train: ImageSet | None = None
    in_parts: bool = True  # whether the lines tell each modality and class apart

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        table = {} if self.table is None else {"table": self.table.to_json()}
        brings = {} if self.downstream is None else {"utility": self.downstream.to_json()}
        sets = [one.to_json() for one in self.sets]
        return {"sets": sets, **brings, **table, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """Return all of it for a person to read."""
        told = [f"Note: {note}" for note in self.notes]
        table = self.table.lines() if self.table else []
        brings = self.downstream.lines() if self.downstream else []
        sets = [["", *one.lines(in_parts=self.in_parts)] for one in self.sets]
        if self.sets and not self.in_parts:
            told.append("Each modality and class: the page, --json, or one axis by --only.")
        return [*table, *(line for of_set in sets for line in of_set), *brings, *told]


def compare_versions(
    ws: Workspace, config: EvaluationConfig, axes: AxesConfig, progress: ShowProgress
) -> SetsCompared:
    """Measure each version that has images, on the prompts that all have, with its real images."""
    train, test = real_set(ws, ("train", None)), real_set(ws, HELD_OUT)
    if not train.images:
        return SetsCompared(
            (),
            (
                "no real training images in this workspace: fidelity, label truth and privacy "
                "need some (`curate import`), or two tables (--real and --synthetic)",
            ),
        )
    versions = queries.versions.versions_with_images(ws.session)
    sets = [version_set(ws, v.id, limit=config.images_per_version) for v in versions]
    most = REAL_TIMES * config.images_per_version
    held_out = test.sample(most) if test.images else None
    releases = queries.releases.releases(ws.session)
    taught = decided_sets(ws, releases[-1]) if releases else None
    learned = [one.sample(most) for one in taught if one.images] if taught else sets
    beside = (train.sample(most), held_out, axes, progress)
    if not any("label_check" in release.rule for release in releases):
        return compare(sets, *beside, learned=learned)
    # what a label check let pass is read by patients that it did not learn from
    found = compare(sets, *beside, lambda i: not teaches_filter(i), learned=learned)
    note = "labels are read by the half of the real patients that taught no label check"
    return replace(found, notes=(*found.notes, note))


def compare_tables(
    synthetic: Sequence[Path],
    real: Path,
    test: Path | None,
    config: EvaluationConfig,
    axes: AxesConfig,
    progress: ShowProgress,
    *,
    cache: Path,
) -> SetsCompared:
    """Measure sets that curate need not have made: tables, releases or plain folders.

    Without a table of held-out images, those that the real table's column `split` calls val or
    test are held out.
    """
    known = read_set(real, cache=cache)
    held_out = read_set(test, cache=cache) if test is not None else None
    if held_out is None:
        unseen = known.of(lambda image: image.groups.get("split") in HELD_OUT)
        held_out = unseen if unseen.images else None
        known = known.of(lambda image: image.groups.get("split") not in HELD_OUT)
    if not known.images:
        raise CurateError(f"{real}: every image is held out (split val or test), so none is left.")
    most = REAL_TIMES * config.images_per_version
    sets = [
        read_set(path, cache=cache, only_synthetic=True).sample(config.images_per_version)
        for path in synthetic
    ]
    held_out = held_out.sample(most) if held_out else None
    return compare(sets, known.sample(most), held_out, axes, progress)


def compare(
    sets: Sequence[ImageSet],
    train: ImageSet,
    test: ImageSet | None,
    config: AxesConfig,
    progress: ShowProgress,
    reads: Callable[[SetImage], bool] = lambda image: True,
    *,
    learned: Sequence[ImageSet] | None = None,
) -> SetsCompared:
    """Measure sets beside the same real images. Raises CurateError where patients are on both.

    `learned` are the sets that classifiers train on, where they are others; the first is what the
    others are compared with.
    """
    both = patients_on_both_sides(train, test) if test else []
    if both:
        raise CurateError(
            f"{len(both)} patients have images among the training and the held-out ones, as "
            f"{both[0]}: no figure would be of unseen patients. Put each patient on one side."
        )
    equal, said = matched(sets)
    notes = [line for one in (*sets, train, *([test] if test else [])) for line in one.refused]
    backbone = load_backbone(config.features)
    measured: list[Axes] = []
    told = tuple([*([said] if said else []), *notes])
    if config.table is not None:
        return SetsCompared((), told, minim_table(equal, train, test, backbone))
    if set(config.only) != {UTILITY}:
        with progress(len(equal), "sets measured") as advance:
            for one in equal:
                measured.append(measure_axes(one, train, test, backbone, config, reads))
                advance(1)
    brings = None
    if config.full or not config.only or UTILITY in config.only:
        brings = downstream_of(
            sets if learned is None else learned,
            train,
            test,
            backbone,
            progress,
            is_full=config.full,
        )
    return SetsCompared(
        tuple(measured),
        told,
        downstream=brings,
        images=tuple(equal),
        train=train,
        in_parts=bool(config.only or config.by),
    )
