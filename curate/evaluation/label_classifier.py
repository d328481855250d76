"""Which label an image shows, by a classifier trained on real patients, one for each modality.

Its own accuracy comes from patients that it did not learn from, and belongs beside all it says.
Shapes: N images.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from curate.evaluation.classifiers import ClassExamples, Classifier, Predict
from curate.evaluation.sets import SetImage

NUM_FOLDS = 5
FEWEST_PATIENTS = 5  # of a label, that each fold may have one


@dataclass(frozen=True)
class LabelClassifier:
    """What can be read of each modality."""

    labels: Mapping[str, tuple[str, ...]]  # modality -> the labels it tells apart
    predict: Mapping[str, Predict]

    def read(self, inputs: Tensor, images: Sequence[SetImage]) -> list[str | None]:
        """Return the likeliest label of each image; None where the modality was never learned."""
        read: list[str | None] = [None] * len(images)
        for modality, predict in self.predict.items():
            places = [at for at, image in enumerate(images) if image.modality == modality]
            if places:
                likeliest = predict(inputs[places]).argmax(dim=1).tolist()
                for place, label in zip(places, likeliest, strict=True):
                    read[place] = self.labels[modality][label]
        return read

    def believe(self, inputs: Tensor, images: Sequence[SetImage]) -> list[float | None]:
        """Return of each image the probability of its own label; None where it was not learned."""
        believed: list[float | None] = [None] * len(images)
        for modality, predict in self.predict.items():
            known = self.labels[modality]
            places = [
                at
                for at, image in enumerate(images)
                if image.modality == modality and image.label in known
            ]
            if places:
                for place, of_labels in zip(places, predict(inputs[places]).tolist(), strict=True):
                    believed[place] = of_labels[known.index(images[place].label or "")]
        return believed


def readable(images: Sequence[SetImage]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Return the labels that a classifier can learn, by modality, and of what is left out why.

    A label needs five patients, that each part of the cross-validation may have one, and another
    label of its modality to be told from.
    """
    patients: dict[str, dict[str, set[str]]] = {}
    for image in images:
        if image.label is not None:
            known = patients.setdefault(image.modality, {}).setdefault(image.label, set())
            known.add(patient_of(image))
    labels, left_out = dict[str, tuple[str, ...]](), dict[str, str]()
    for modality, found in sorted(patients.items()):
        enough = tuple(sorted(la for la, some in found.items() if len(some) >= FEWEST_PATIENTS))
        for label in found.keys() - set(enough):
            left_out[f"{modality} {label}"] = (
                f"{len(found[label])} real training patients, a classifier needs {FEWEST_PATIENTS}"
            )
        if len(enough) > 1:
            labels[modality] = enough
        elif enough:
            left_out[f"{modality} {enough[0]}"] = "no other label to tell it from"
    return labels, left_out


def patient_of(image: SetImage) -> str:
    """Return whose image it is; one without a patient counts as a patient of its own."""
    return image.patient or f"image {image.file_sha256}"


def teaches_filter(image: SetImage) -> bool:
    """Say whether a real image's patient teaches what filters; the others' measure what it left."""
    return hashlib.sha256(f"label check {patient_of(image)}".encode()).digest()[0] % 2 == 0


def train_label_classifier(
    classifier: Classifier, inputs: Tensor, images: Sequence[SetImage], *, seed: int = 0
) -> LabelClassifier:
    """Return a classifier that has learned from all these real images."""
    labels, _ = readable(images)
    predict = {}
    for modality, known in labels.items():
        places, classes_N = _examples(images, modality, known)
        examples = ClassExamples(inputs[places], classes_N)
        predict[modality] = classifier.fit(examples, len(known), seed=seed)
    return LabelClassifier(labels, predict)


def cross_read(
    classifier: Classifier, inputs: Tensor, images: Sequence[SetImage], *, seed: int = 0
) -> list[str | None]:
    """Return what is read of each real image by a classifier that never saw its patient.

    None where its label cannot be learned.
    """
    labels, _ = readable(images)
    read: list[str | None] = [None] * len(images)
    for modality, known in labels.items():
        places, classes_N = _examples(images, modality, known)
        groups = [patient_of(images[place]) for place in places]
        folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed)
        for learn, ask in folds.split(places, classes_N.numpy(), groups):
            own = ClassExamples(inputs[[places[at] for at in learn]], classes_N[learn])
            predict = classifier.fit(own, len(known), seed=seed)
            asked = [places[at] for at in ask]
            for place, label in zip(asked, predict(inputs[asked]).argmax(1).tolist(), strict=True):
                read[place] = known[label]
    return read


def _examples(
    images: Sequence[SetImage], modality: str, known: tuple[str, ...]
) -> tuple[list[int], Tensor]:
    places = [
        at for at, image in enumerate(images) if image.modality == modality and image.label in known
    ]
    return places, torch.tensor([known.index(images[place].label or "") for place in places])


def balanced_accuracy(asked: Sequence[str | None], read: Sequence[str | None]) -> float:
    """Return the mean over labels of the share of images that are read as theirs."""
    told = [(a, r) for a, r in zip(asked, read, strict=True) if a is not None and r is not None]
    totals = Counter(a for a, _ in told)
    right = Counter(a for a, r in told if a == r)
    return sum(right[label] / totals[label] for label in totals) / max(1, len(totals))
