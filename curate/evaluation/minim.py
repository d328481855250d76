"""MINIM's table of figures, for the sets at hand: FID, IS, MS-SSIM, CAS, IIR and ITR by modality.

Each figure as that publication names it; what stands behind it here, and where it says little,
is in docs/evaluation.md. Shapes: N images, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from curate.evaluation.classifiers import ClassExamples, Classifier, finite_features
from curate.evaluation.fidelity import compact, frechet, inception_score, of_halves
from curate.evaluation.figures import (
    FEWEST,
    INCEPTION,
    Side,
    similarity_within_prompts,
)
from curate.evaluation.intervals import Estimate, wilson_interval
from curate.evaluation.label_classifier import readable, train_label_classifier
from curate.evaluation.retrieval import TOP, ImageToText, chance_at_10, hits_at_10
from curate.evaluation.sets import ImageSet
from rewards.backbones import Backbone

Figure = Callable[[Side], Estimate | str]  # a figure, or why there is none


@dataclass(frozen=True)
class MinimRow:
    """One figure of one modality, for each set."""

    modality: str
    name: str
    figures: tuple[Estimate | str, ...]  # in the order of the sets; text: why there is none
    says: str = ""  # chance, or the most that can be reached

    def line(self) -> str:
        """Return it for a person to read, with the change from the first set to the last."""
        cells = [
            one if isinstance(one, str) else f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
            for one in self.figures
        ]
        ends = [one.value for one in self.figures if isinstance(one, Estimate)]
        if len(ends) == len(self.figures) > 1 and ends[0]:
            cells.append(f"{100 * (ends[-1] / ends[0] - 1):+.1f} %")
        remark = f"  [{self.says}]" if self.says else ""
        return f"  {self.modality:<12}{self.name:<22}{' -> '.join(cells)}{remark}"


@dataclass(frozen=True)
class MinimTable:
    """All rows, by modality."""

    sets: tuple[str, ...]
    network: str
    rows: tuple[MinimRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table for a person to read."""
        head = f"MINIM's figures of {' -> '.join(self.sets)}; {self.network}; 95 % intervals"
        return [head, *(row.line() for row in self.rows)]


def minim_table(
    sets: Sequence[ImageSet], train: ImageSet, test: ImageSet | None, backbone: Backbone
) -> MinimTable:
    """Measure every set; held-out real images judge CAS and are IIR's gallery."""
    of_train = Side(train, finite_features(train, backbone))
    of_test = of_train if test is None else Side(test, finite_features(test, backbone))
    made = [Side(one, finite_features(one, backbone)) for one in sets]
    rows: list[MinimRow] = []
    to_text, of_texts = _itr(of_train), _itr_chance(of_train)  # among the texts of all modalities
    for modality in sorted({image.modality for one in sets for image in one.images}):
        rows += _rows_of(modality, made, of_train, of_test, backbone)
        itr_of = tuple(to_text(_of(side, modality)) for side in made)
        rows.append(MinimRow(modality, "ITR top-10", itr_of, of_texts))
    return MinimTable(
        sets=tuple(one.name for one in sets),
        network=f"network {backbone.name} ({backbone.fingerprint[:12]})",
        rows=tuple(rows),
    )


def _of(side: Side, modality: str) -> Side:
    """Return a side's images of one modality."""
    places = side.places(lambda image: image.modality == modality)
    images = side.images.of(lambda image: image.modality == modality)
    return Side(images, side.features_ND[places])


def _rows_of(
    modality: str, made: Sequence[Side], train: Side, test: Side, backbone: Backbone
) -> list[MinimRow]:
    train, test = _of(train, modality), _of(test, modality)
    own = [_of(side, modality) for side in made]
    distance = "FID" if INCEPTION in backbone.name.lower() else "Frechet distance"
    labels = readable(train.images.images)[0].get(modality, ())
    asked, named = (
        [image.label for image in one.images.images if image.label is not None]
        for one in (own[0], test)
    )
    found: list[tuple[str, Figure, str]] = [
        (distance, lambda side: _frechet(side, train), "lower is nearer"),
        ("IS", _inception(train, modality), f"at most {len(labels)}"),
        ("MS-SSIM", _similarity, "lower is more varied"),
        (
            "CAS top-1",
            lambda side: _cas(side, test, labels),
            f"chance {1 / max(1, len(labels)):.2f}",
        ),
        (
            "IIR top-10",
            lambda side: _iir(side, test),
            f"chance {chance_at_10(asked, named):.2f}" if asked and len(named) > TOP else "",
        ),
    ]
    return [MinimRow(modality, name, tuple(map(of, own)), says) for name, of, says in found]


def _frechet(side: Side, train: Side) -> Estimate | str:
    if min(len(side.features_ND), len(train.features_ND)) < FEWEST:
        return f"fewer than {FEWEST} images"
    return of_halves(frechet, *compact(side.features_ND, train.features_ND))


def _inception(train: Side, modality: str) -> Figure:
    learned = train_label_classifier(
        Classifier("linear"), train.features_ND, train.images.images
    ).predict.get(modality)

    def score(side: Side) -> Estimate | str:
        if learned is None or len(side.features_ND) < FEWEST:
            return "no label classifier" if learned is None else f"fewer than {FEWEST} images"
        value = inception_score(learned(side.features_ND))
        return Estimate(value, value, value, len(side.features_ND))

    return score


def _similarity(side: Side) -> Estimate | str:
    return similarity_within_prompts(side.images) or "no two images of one prompt"


def _cas(side: Side, test: Side, labels: Sequence[str]) -> Estimate | str:
    """Train on the set, test on held-out real images."""
    if len(labels) < 2:
        return "fewer than 2 labels"
    parts = []
    for one in (side, test):
        places = one.places(lambda image: image.label in labels)
        classes = [labels.index(one.images.images[at].label or "") for at in places]
        parts.append(ClassExamples(one.features_ND[places], torch.tensor(classes).long()))
    learned, asked = parts
    if len(learned.classes_N) < FEWEST or not len(asked.classes_N):
        return f"{len(learned.classes_N)} labelled images, {len(asked.classes_N)} held out"
    predict = Classifier("linear").fit(learned, len(labels), seed=0)
    right = int((predict(asked.inputs).argmax(1) == asked.classes_N).sum())
    return wilson_interval(right, len(asked.classes_N))


def _iir(side: Side, test: Side) -> Estimate | str:
    """Ask with labelled images, among labelled ones: two without a label have none in common."""
    asked_at, gallery_at = (one.places(lambda i: i.label is not None) for one in (side, test))
    if len(gallery_at) <= TOP or not asked_at:
        return f"{len(asked_at)} labelled images, {len(gallery_at)} held out; over {TOP} are needed"
    asked = [side.images.images[at].label for at in asked_at]
    gallery = [test.images.images[at].label for at in gallery_at]
    hits = hits_at_10(side.features_ND[asked_at], asked, test.features_ND[gallery_at], gallery)
    return wilson_interval(int(hits.sum()), len(hits))


def _itr(train: Side) -> Figure:
    texts = [image.text for image in train.images.images]
    if len({text for text in texts if text}) < 2:
        return lambda side: "fewer than 2 texts"
    learned = ImageToText(train.features_ND, texts)

    def found(side: Side) -> Estimate | str:
        hits = learned.found(side.features_ND, [image.text for image in side.images.images])
        return wilson_interval(int(hits.sum()), len(hits))

    return found


def _itr_chance(train: Side) -> str:
    num = len({image.text for image in train.images.images})
    return f"chance {min(1.0, TOP / max(1, num)):.2f}, {num} texts"
