"""Is the label that was asked for in the picture? Shapes: N images, P pixels."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.evaluation.classifiers import Classifier
from curate.evaluation.intervals import Estimate, difference_of_shares, wilson_interval
from curate.evaluation.label_classifier import (
    balanced_accuracy,
    cross_read,
    readable,
    train_label_classifier,
)
from curate.evaluation.sets import SetImage

NEARLY_EQUAL = 0.98  # correlation of grey levels at 64 x 64 above which two images are one
BLOCK = 512
STRIP = 8  # images of a class that are shown
SHOWN, NOT_SHOWN, TOO_FEW = "shown", "not shown", "too few images to say"
UNREADABLE, ALONE = "the classifier cannot tell", "no other label to compare with"


@dataclass(frozen=True)
class ClassTruth:
    """How often what was asked for is read, of one label of a modality."""

    modality: str
    label: str
    read: Estimate  # share of the images asked for with this label that are read as it
    elsewhere: Estimate | None  # share of the modality's other images that are read as it
    real: Estimate  # share of real images of unseen patients that are read rightly
    base_rate: float  # of the label among the modality's real images
    verdict: str  # SHOWN, NOT_SHOWN, ... above


@dataclass(frozen=True)
class Strip:
    """Images of one class, evenly from the likeliest to show its label to the least likely."""

    modality: str
    label: str
    images: tuple[tuple[str, str, float], ...]  # name, key of its file, probability of the label


@dataclass(frozen=True)
class Contradiction:
    """Two images that are nearly equal and were asked for with different labels."""

    first: SetImage
    second: SetImage
    correlation: float


@dataclass(frozen=True)
class Contradictions:
    """The pairs, the nearest first, and how many of the images are in one."""

    pairs: tuple[Contradiction, ...]
    share: Estimate  # of the images that have such a twin
    num_of_one_seed: int  # pairs that were made from the same noise


@dataclass(frozen=True)
class LabelTruth:
    """What a label classifier, trained on real patients, sees in a set."""

    classifier: str
    accuracies: tuple[tuple[str, float, int, int], ...]  # modality, balanced, labels, real images
    classes: tuple[ClassTruth, ...]
    confusion: tuple[tuple[str, str, str, int], ...]  # modality, asked, read, images
    left_out: tuple[tuple[str, str], ...]  # class, why
    strips: tuple[Strip, ...] = ()

    @property
    def empty(self) -> list[ClassTruth]:
        """Return the classes whose label is not to be seen though the classifier knows it."""
        return [found for found in self.classes if found.verdict == NOT_SHOWN]


def label_truth(
    classifier: Classifier,
    real: tuple[Tensor, Sequence[SetImage]],
    made: tuple[Tensor, Sequence[SetImage]],
) -> LabelTruth:
    """Train a classifier on real images (inputs and images) and read the others with it.

    A label shows where its images are read as it more often than the modality's other images are;
    it does not where that difference is surely below half of what it is on real patients.
    """
    real_inputs, real_images = real
    made_inputs, made_images = made
    labels, left_out = readable(real_images)
    unseen = cross_read(classifier, real_inputs, real_images)
    learned = train_label_classifier(classifier, real_inputs, real_images)
    read = learned.read(made_inputs, made_images)
    confusion = Counter(
        (image.modality, image.label, said)
        for image, said in zip(made_images, read, strict=True)
        if said is not None and image.label is not None
    )
    on_real = Counter(
        (image.modality, image.label, said)
        for image, said in zip(real_images, unseen, strict=True)
        if said is not None and image.label is not None
    )
    asked = Counter((image.modality, image.label) for image in made_images)
    for modality, label in sorted((m, la) for m, la in asked if la is not None):
        if label not in labels.get(modality, ()):
            left_out.setdefault(f"{modality} {label}", "no real training image of this label")
    accuracies = []
    for modality, known in labels.items():
        own = [at for at, image in enumerate(real_images) if image.modality == modality]
        right = balanced_accuracy([real_images[at].label for at in own], [unseen[at] for at in own])
        num = sum(count for (of, _, _), count in on_real.items() if of == modality)
        accuracies.append((modality, right, len(known), num))
    classes = tuple(
        _class_truth(confusion, on_real, modality, label)
        for modality, known in labels.items()
        for label in known
        if asked[modality, label]
    )
    return LabelTruth(
        classifier=f"{classifier.name} classifier on {len(real_images)} real images",
        accuracies=tuple(accuracies),
        classes=classes,
        confusion=tuple((*key, count) for key, count in sorted(confusion.items())),
        left_out=tuple(sorted(left_out.items())),
        strips=tuple(_strips(made_images, learned.believe(made_inputs, made_images))),
    )


def _strips(images: Sequence[SetImage], believed: Sequence[float | None]) -> Iterator[Strip]:
    of_class = defaultdict[tuple[str, str], list[tuple[str, str, float]]](list)
    for image, sure in zip(images, believed, strict=True):
        if sure is not None and image.label is not None:
            shown = (image.name, image.file_sha256, sure)
            of_class[image.modality, image.label].append(shown)
    for (modality, label), found in sorted(of_class.items()):
        found.sort(key=lambda one: (-one[2], one[0]))
        num = min(STRIP, len(found))
        places = [round(at * (len(found) - 1) / max(1, num - 1)) for at in range(num)]
        yield Strip(modality, label, tuple(found[place] for place in places))


Told = Counter[tuple[str, str, str]]  # (modality, its label, the label read) -> images


def _class_truth(made: Told, real: Told, modality: str, label: str) -> ClassTruth:
    def counts(told: Told, *, same: bool) -> tuple[int, int]:
        rows = [
            (said, n)
            for (of, asked, said), n in told.items()
            if of == modality and (asked == label) is same
        ]
        return sum(n for said, n in rows if said == label), sum(n for _, n in rows)

    asked, others = counts(made, same=True), counts(made, same=False)
    known, unknown = counts(real, same=True), counts(real, same=False)
    tells = difference_of_shares(known, unknown)
    base_rate = known[1] / (known[1] + unknown[1])
    return ClassTruth(
        modality=modality,
        label=label,
        read=wilson_interval(*asked),
        elsewhere=wilson_interval(*others) if others[1] else None,
        real=wilson_interval(*known),
        base_rate=base_rate,
        verdict=_verdict(tells, asked, others),
    )


def _verdict(tells: Estimate, asked: tuple[int, int], others: tuple[int, int]) -> str:
    """Say of a label whether it shows, by how much oftener it is read where it was asked for.

    `tells` is the same difference on real patients: half of it is what a label that shows has.
    """
    if tells.low <= 0:
        return UNREADABLE
    if not others[1]:
        return ALONE
    seen = difference_of_shares(asked, others)
    if seen.low > 0:
        return SHOWN
    return NOT_SHOWN if seen.high < tells.value / 2 else TOO_FEW


def contradictions(
    pixels_N3HW: Tensor, images: Sequence[SetImage], *, above: float = NEARLY_EQUAL
) -> Contradictions | None:
    """Return the pairs of nearly equal images of one modality with different labels.

    Nearly equal: the correlation of their grey levels is above `above`. None without two labels.
    """
    pairs: list[Contradiction] = []
    labelled = [at for at, image in enumerate(images) if image.label is not None]
    if len({images[at].shown for at in labelled}) < 2:
        return None
    for modality in sorted({images[at].modality for at in labelled}):
        places = [at for at in labelled if images[at].modality == modality]
        grey_NP = pixels_N3HW[places].mean(dim=1).flatten(1)
        unit_NP = torch.nn.functional.normalize(grey_NP - grey_NP.mean(1, keepdim=True), dim=1)
        for start in range(0, len(places), BLOCK):
            near = (unit_NP[start : start + BLOCK] @ unit_NP.T > above).nonzero().tolist()
            for row, column in near:
                first, second = images[places[start + row]], images[places[column]]
                if start + row < column and first.label != second.label:
                    r = float(unit_NP[start + row] @ unit_NP[column])
                    pairs.append(Contradiction(first, second, min(1.0, r)))
    pairs.sort(key=lambda pair: (-pair.correlation, pair.first.name, pair.second.name))
    twins = {image.name for pair in pairs for image in (pair.first, pair.second)}
    same = sum(p.first.seed is not None and p.first.seed == p.second.seed for p in pairs)
    return Contradictions(tuple(pairs), wilson_interval(len(twins), len(labelled)), same)
