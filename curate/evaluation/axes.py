"""A set measured along axes: fidelity, diversity, label truth, privacy, retrieval.

Each figure stands with what it is of, its interval, how many images it rests on and, where there
is none, the reason. In shapes: N images, D features.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.evaluation.classifiers import Classifier, finite_features, pixels_of
from curate.evaluation.config import AxesConfig
from curate.evaluation.features import unit
from curate.evaluation.figures import (
    Compared,
    Measure,
    Side,
    diversity_of,
    fidelity_of,
    privacy_of,
    retrieval_of,
)
from curate.evaluation.label_classifier import readable
from curate.evaluation.label_truth import Contradictions, LabelTruth, contradictions, label_truth
from curate.evaluation.privacy import nearest
from curate.evaluation.sets import ImageSet, SetImage
from rewards.backbones import Backbone

NAMED_PAIRS = 10
NEAREST_PAIRS = 8


@dataclass(frozen=True)
class Neighbours:
    """An image of the set and the training image nearest to it."""

    made: SetImage
    real: SetImage
    distance: float  # Euclidean, of unit features


@dataclass(frozen=True)
class Axes:
    """All that was measured of one set."""

    name: str
    network: str
    against: str
    measures: tuple[Measure, ...]
    truth: LabelTruth | None
    contradictions: Contradictions | None
    neighbours: tuple[Neighbours, ...] = ()  # the nearest first

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "network": self.network,
            "against": self.against,
            "measures": [asdict(measure) for measure in self.measures],
            "nearest_training_images": [
                {"images": [pair.made.name, pair.real.name], "distance": pair.distance}
                for pair in self.neighbours
            ],
            "label_truth": None if self.truth is None else asdict(self.truth),
            "contradictions": None
            if self.contradictions is None
            else {
                "share": asdict(self.contradictions.share),
                "num_pairs": len(self.contradictions.pairs),
                "num_of_one_seed": self.contradictions.num_of_one_seed,
                "pairs": [
                    {
                        "images": [pair.first.name, pair.second.name],
                        "labels": [pair.first.shown, pair.second.shown],
                        "correlation": pair.correlation,
                    }
                    for pair in self.contradictions.pairs[:NAMED_PAIRS]
                ],
            },
        }

    def lines(self, *, in_parts: bool = True) -> list[str]:
        """Return the figures for a person to read; of modalities and classes too, or labels alone.

        Of some twenty classes that is hundreds of lines.
        """
        lines = [f"{self.name}, {self.network}, against {self.against}; 95 % intervals"]
        for measure in self.measures:
            if not (in_parts or measure.of == "all" or measure.axis == "label-truth"):
                continue
            lines.append(f"  {measure.axis:<12}{measure.name:<34}{measure.of:<28}{shown(measure)}")
        if self.truth is not None:
            lines += self._truth_lines(self.truth)
        found = self.contradictions
        if found is not None and found.pairs:
            lines.append(
                f"  contradictions: {len(found.pairs)} pairs are nearly equal under different "
                f"labels, {found.num_of_one_seed} of them made of one seed. The nearest:"
            )
            lines += [
                f"    {p.first.shown} {p.first.name} = {p.second.shown} {p.second.name} "
                f"(r {p.correlation:.3f})"
                for p in found.pairs[:NAMED_PAIRS]
            ]
        return lines

    def _truth_lines(self, truth: LabelTruth) -> list[str]:
        lines = [f"  read by a {truth.classifier}; unseen real patients, balanced:"]
        lines += [
            f"    {modality} {100 * accuracy:.0f} % of {labels} labels (chance "
            f"{100 / labels:.0f} %), {num} images"
            for modality, accuracy, labels, num in truth.accuracies
        ]
        lines += [
            f"  not shown: {found.modality} {found.label}: {100 * found.read.value:.0f} % of "
            f"{found.read.num} images are read as it"
            for found in truth.empty
        ]
        return lines + [f"  not read: {name}: {why}" for name, why in truth.left_out]


def shown(measure: Measure) -> str:
    """Return a figure as a person reads it: value, interval, number, remark."""
    if measure.estimate is None:
        return f"- ({measure.says})"
    value, low, high = (measure.estimate.value, measure.estimate.low, measure.estimate.high)
    remark = f"; {measure.says}" if measure.says else ""
    return f"{value:.3f} ({low:.3f} to {high:.3f}), n {measure.estimate.num}{remark}"


def measure_axes(
    made: ImageSet,
    train: ImageSet,
    test: ImageSet | None,
    backbone: Backbone,
    config: AxesConfig,
    reads: Callable[[SetImage], bool] = lambda image: True,
) -> Axes:
    """Measure a set along the axes that `config` names; labels are read by who `reads`."""
    sides = [
        Side(images, finite_features(images, backbone)) if images and images.images else None
        for images in (made, train, test)
    ]
    compared = Compared(sides[0], sides[1], sides[2], config, backbone, reads)  # type: ignore[arg-type]
    wanted = [axis for axis in config.only or AXES if axis in AXES]  # not what compares sets
    truth, twins = None, None
    measures: list[Measure] = []
    for axis in wanted:
        if axis == "label-truth":
            truth, twins, found = truth_of(compared)
            measures += found
        else:
            measures += AXES[axis](compared)
    against = f"{len(train.images)} real training images"
    held_out = f" and {len(test.images)} held-out ones" if test else ", no held-out ones"
    return Axes(
        name=f"{made.name}: {len(made.images)} images",
        network=f"network {backbone.name} ({backbone.fingerprint[:12]}, {backbone.resizing})",
        against=against + held_out,
        measures=tuple(measures),
        truth=truth,
        contradictions=twins,
        neighbours=tuple(_neighbours(compared)) if "privacy" in wanted else (),
    )


def _neighbours(compared: Compared) -> list[Neighbours]:
    """Return the pairs of an image and a training image that are nearest to each other."""
    made, train = compared.made, compared.train
    far_N, which_N = nearest(unit(made.features_ND), unit(train.features_ND))
    chosen = far_N.argsort()[:NEAREST_PAIRS].tolist()
    return [
        Neighbours(made.images.images[at], train.images.images[int(which_N[at])], float(far_N[at]))
        for at in chosen
    ]


def truth_of(
    compared: Compared,
) -> tuple[LabelTruth | None, Contradictions | None, list[Measure]]:
    """Return what the label classifier sees, contradictions, and both as measures."""
    made, train = compared.made, compared.train
    classifier = Classifier(compared.config.label_classifier)
    sets = [
        (
            side.features_ND
            if classifier.name == "linear"
            else classifier.inputs(side.images, compared.backbone),
            side.images.images,
        )
        for side in (train, made)
    ]
    measures: list[Measure] = []
    own = [place for place, image in enumerate(train.images.images) if compared.reads(image)]
    teachers = [train.images.images[place] for place in own]
    labels, left_out = readable(teachers)
    truth = None
    if labels:
        truth = label_truth(classifier, (sets[0][0][own], teachers), sets[1])
        for found in truth.classes:
            other = (
                ""
                if found.elsewhere is None
                else f", {100 * found.elsewhere.value:.0f} % of others"
            )
            says = (
                f"{found.verdict}; real {100 * found.real.value:.0f} %{other}, base rate "
                f"{100 * found.base_rate:.0f} %"
            )
            of = f"{found.modality} {found.label}"
            measures.append(Measure("label-truth", "read as asked", of, found.read, says))
    else:
        why = "; ".join(left_out.values()) or "the real images have no labels"
        measures.append(Measure("label-truth", "read as asked", "all", None, why))
    twins = contradictions(pixels_of(made.images), made.images.images)
    real_twins = contradictions(pixels_of(train.images), train.images.images)
    for whose, seen in (("", twins), ("real ", real_twins)):
        name = f"{whose}contradictions"
        estimate = None if seen is None else seen.share
        measures.append(Measure("label-truth", name, "all", estimate, "" if seen else "one label"))
    return truth, twins, measures


AXES: Mapping[str, Callable[[Compared], Any]] = {
    "fidelity": fidelity_of,
    "diversity": diversity_of,
    "label-truth": truth_of,
    "privacy": privacy_of,
    "retrieval": retrieval_of,
}


def matched(sets: Sequence[ImageSet]) -> tuple[list[ImageSet], str]:
    """Return the sets with equal numbers of the prompts that all have, and what was done."""
    counts = [Counter(image.prompt for image in one.images) for one in sets]
    prompts = set.intersection(*map(set, counts))
    shared = {prompt: min(count[prompt] for count in counts) for prompt in prompts}
    if len(sets) == 1:
        return list(sets), ""
    if not shared:
        return list(sets), "the sets share no prompt: their figures are not comparable"
    kept = []
    for one in sets:
        left = Counter(shared)

        def takes(image: Any, left: Counter[str] = left) -> bool:
            left[image.prompt] -= 1
            return left[image.prompt] >= 0

        kept.append(one.of(takes))
    num, total = len(kept[0].images), max(len(one.images) for one in sets)
    return kept, f"compared on {len(shared)} prompts of all sets, {num} of {total} images of each"
