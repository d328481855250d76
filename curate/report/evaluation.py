"""An evaluation as one page: every figure with its interval, and the pictures behind it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.evaluation.axes import Axes
from curate.evaluation.compare import SetsCompared
from curate.evaluation.figures import Measure
from curate.evaluation.intervals import Estimate
from curate.evaluation.label_truth import LabelTruth
from curate.evaluation.sets import ImageSet
from curate.evaluation.utility import Utility
from curate.report.page import render
from curate.report.pictures import small_png_uri
from curate.report.plots import Points, Ratios, gains, intervals
from db.folders import replace_file

# figures that are drawn, and which way is better
DRAWN = {
    "KID": "lower is nearer",
    "precision": "higher is nearer",
    "recall": "higher is more varied",
    "coverage": "higher is more varied",
    "Vendi score": "higher is more varied",
    "membership AUC": "0.5: nothing leaks",
}
REAL = "real "
SHOWN_TWINS = 6
LONGEST_SIDE = 112  # pixels: there may be hundreds of pictures


@dataclass(frozen=True)
class Captioned:
    """A small picture and what is said under it."""

    uri: str
    says: str


@dataclass(frozen=True)
class Confusion:
    """What a modality's images were read as: a row for each label that was asked for."""

    modality: str
    accuracy: str  # of the classifier on unseen real patients
    read: tuple[str, ...]
    rows: tuple[
        tuple[str, str, tuple[tuple[int, float], ...]], ...
    ]  # asked, verdict, images, share


@dataclass(frozen=True)
class SetStory:
    """One set: its figures and pictures."""

    of: Axes
    confusions: tuple[Confusion, ...]
    strips: tuple[tuple[str, tuple[Captioned, ...]], ...]
    neighbours: tuple[tuple[Captioned, Captioned], ...]
    twins: tuple[tuple[Captioned, Captioned], ...]


@dataclass(frozen=True)
class EvaluationStory:
    """All that the page tells."""

    commands: Mapping[str, str]  # of each part
    sets: tuple[SetStory, ...]
    drawn: str | None
    table: tuple[tuple[Measure, tuple[Measure | None, ...]], ...]  # of all images; a cell a set
    details: tuple[tuple[Measure, tuple[Measure | None, ...]], ...]  # of parts of them
    learned: tuple[tuple[Utility, str | None], ...]
    compared: SetsCompared


def write_evaluation(compared: SetsCompared, place: Path, command: str) -> Path:
    """Write the page and return its path; `command` is what was asked, without what it was of."""
    parts = ("fidelity", "diversity", "label-truth", "privacy", "retrieval", "utility")
    rows = list(_rows([one.measures for one in compared.sets]))
    story = EvaluationStory(
        commands={part: f"{command} --only {part}" for part in parts} | {"all": command},
        sets=tuple(
            _of_set(axes, images, compared.train or images)
            for axes, images in zip(compared.sets, compared.images, strict=False)  # none measured
        ),
        drawn=_drawn(compared.sets),
        table=tuple(row for row in rows if row[0].of == "all"),
        details=tuple(row for row in rows if row[0].of != "all"),
        learned=tuple((table, _curve(table)) for table in _tables(compared)),
        compared=compared,
    )
    replace_file(place, render("evaluation.html", story=story).encode())
    return place


def _tables(compared: SetsCompared) -> Iterable[Utility]:
    found = compared.downstream
    if found is None:
        return ()
    return (*found.classifiers, *([found.self_supervised] if found.self_supervised else []))


def _rows(
    sets: Sequence[Sequence[Measure]],
) -> Iterable[tuple[Measure, tuple[Measure | None, ...]]]:
    """Yield each figure once, with what it is of every set."""
    found = [{(one.axis, one.name, one.of): one for one in measures} for measures in sets]
    for key, first in {
        key: one for of_set in reversed(found) for key, one in of_set.items()
    }.items():
        yield first, tuple(of_set.get(key) for of_set in found)


def _drawn(sets: Sequence[Axes]) -> str | None:
    """Draw the figures of all images beside those of held-out real ones."""
    found = [
        {one.name: one.estimate for one in axes.measures if one.of == "all" and one.estimate}
        for axes in sets
    ]
    panels = []
    for name, says in DRAWN.items():
        points = {
            axes.name.partition(":")[0]: figures[name]
            for axes, figures in zip(sets, found, strict=True)
            if name in figures
        }
        real = next((figures[REAL + name] for figures in found if REAL + name in figures), None)
        if points:
            panels.append(Points(f"{name} ({says})", points, real))
    return intervals(panels) if panels else None


def _curve(table: Utility) -> str | None:
    """Draw the accuracy of each arm over the number of synthetic images for each real one."""
    panels = []
    numbers = {one.arm.per_class for one in table.outcomes}
    for number in sorted(numbers, key=lambda number: number or math.inf):  # 0 is all there are
        own = [one for one in table.outcomes if one.arm.per_class == number]
        alone = next((one.accuracy for one in own if not one.arm.of), None)
        arms = defaultdict[str, dict[int, Estimate]](dict)
        for one in own:
            if one.arm.of and one.arm.ratio:
                how = f", {one.arm.how}" if one.arm.how else ""
                arms[one.arm.of + how][one.arm.ratio] = one.accuracy
        if arms:
            panels.append(Ratios(f"{number or 'all'} real images a class", alone, arms))
    return gains(panels) if panels else None


def _of_set(axes: Axes, made: ImageSet, real: ImageSet) -> SetStory:
    def seen(side: ImageSet, sha256: str, says: str) -> Captioned:
        return Captioned(small_png_uri(side.store.get(sha256), LONGEST_SIDE), says)

    truth, twins = axes.truth, axes.contradictions
    return SetStory(
        of=axes,
        confusions=tuple(_confusions(truth)) if truth else (),
        strips=tuple(
            (
                f"{strip.modality} {strip.label}",
                tuple(
                    seen(made, sha256, f"{100 * sure:.0f} %") for _, sha256, sure in strip.images
                ),
            )
            for strip in (truth.strips if truth else ())
        ),
        neighbours=tuple(
            (
                seen(made, pair.made.file_sha256, pair.made.shown),
                seen(real, pair.real.file_sha256, f"real, at {pair.distance:.3f}"),
            )
            for pair in axes.neighbours
        ),
        twins=tuple(
            (
                seen(made, pair.first.file_sha256, pair.first.shown),
                seen(
                    made, pair.second.file_sha256, f"{pair.second.shown}, r {pair.correlation:.3f}"
                ),
            )
            for pair in (twins.pairs[:SHOWN_TWINS] if twins else ())
        ),
    )


def _confusions(truth: LabelTruth) -> Iterable[Confusion]:
    verdicts = {(one.modality, one.label): one.verdict for one in truth.classes}
    counts = {(modality, asked, read): num for modality, asked, read, num in truth.confusion}
    for modality, accuracy, num_labels, num in truth.accuracies:
        labels = sorted(
            {label for of, *both, _ in truth.confusion if of == modality for label in both}
        )
        rows = []
        for asked in labels:
            own = [counts.get((modality, asked, read), 0) for read in labels]
            if any(own):
                shares = tuple((count, count / sum(own)) for count in own)
                rows.append((asked, verdicts.get((modality, asked), ""), shares))
        if rows:
            says = (
                f"{100 * accuracy:.0f} % of {num_labels} labels on {num} images of unseen real "
                f"patients (chance {100 / num_labels:.0f} %)"
            )
            yield Confusion(modality, says, tuple(labels), tuple(rows))
