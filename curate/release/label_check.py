"""A second score: how likely the requested label is, as a classifier of real images says.

It is a filter, never a measure: what measures label truth afterwards learns from other patients and
other features (`teaches_filter`, role F in docs/architecture.md). Shapes: N images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import CurateError
from curate.evaluation.classifiers import LINEAR, Classifier
from curate.evaluation.intervals import wilson_interval
from curate.evaluation.label_classifier import (
    balanced_accuracy,
    cross_read,
    readable,
    teaches_filter,
    train_label_classifier,
)
from curate.evaluation.sets import set_image
from curate.samples.features import features_of
from curate.workspace import Workspace
from db import queries
from db.queries.images import ScoredImage
from rewards.backbones import load_backbone

BACKBONE = "embedded"  # B: it has seen no label, and label truth is measured by D
SPLITS = ("train", None)


@dataclass(frozen=True)
class LabelCheck:
    """What the label classifier says, and how far it may be trusted."""

    least: float
    probability: Mapping[str, float]  # of the requested label, by item key of what was read
    accuracy: Mapping[str, float]  # modality -> balanced, on real patients it never saw
    chance: Mapping[str, float]
    unchecked: Mapping[str, str]  # modality or class -> why nothing is said of it
    num_real: int

    def reason(self, image: ScoredImage) -> str | None:
        """Return why an image stays behind; None: its label is read, or nobody can read it."""
        said = self.probability.get(image.item_key)
        if said is None or said >= self.least:
            return None
        return f"requested label not read: probability {said:.3f}, least {self.least:g}"

    def to_json(self) -> dict[str, Any]:
        """Return what the rule and the certificate say of it."""
        return {
            "least": self.least,
            "features": BACKBONE,
            "num_real_images": self.num_real,
            "accuracy": dict(self.accuracy),
            "chance": dict(self.chance),
            "unchecked": dict(self.unchecked),
        }

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        return [
            *(
                f"label check, {name}: the classifier reads {100 * value:.0f} % of unseen real "
                f"images rightly (chance {100 * self.chance[name]:.0f} %)"
                for name, value in self.accuracy.items()
            ),
            *(
                f"WARNING: labels of {name} unchecked: {why}"
                for name, why in self.unchecked.items()
            ),
        ]


def check_labels(ws: Workspace, images: Sequence[ScoredImage], least: float) -> LabelCheck:
    """Read the images with a classifier of one half of the workspace's real patients.

    Raises CurateError where it is near chance: a check that cannot tell would drop at random.
    """
    real = [
        set_image(image, prompt)
        for image, prompt in queries.images.real_images(ws.session, splits=SPLITS)
    ]
    real = [image for image in real if teaches_filter(image)]
    labels, left_out = readable(real)
    asked = {image.modality for image in images}
    real = [image for image in real if image.modality in asked]
    classifier, backbone = Classifier(LINEAR), load_backbone(BACKBONE)
    inputs = features_of(ws, backbone, [image.file_sha256 for image in real])
    unseen = cross_read(classifier, inputs, real)
    accuracy, chance = dict[str, float](), dict[str, float]()
    for modality in sorted(asked & labels.keys()):
        places = [p for p, i in enumerate(real) if i.modality == modality and unseen[p] is not None]
        right = balanced_accuracy([real[p].label for p in places], [unseen[p] for p in places])
        accuracy[modality], chance[modality] = right, 1 / len(labels[modality])
        if wilson_interval(round(right * len(places)), len(places)).low <= chance[modality]:
            raise CurateError(
                f"The label check reads {100 * right:.0f} % of {len(places)} real {modality} "
                f"images of unseen patients rightly, and chance is {100 * chance[modality]:.0f} %: "
                "it cannot tell. Import more real images with labels, or leave --label-check away."
            )
    known = {(modality, label) for modality, own in labels.items() for label in own}
    trained = train_label_classifier(classifier, inputs, real)
    probability: dict[str, float] = {}
    for modality, predict in trained.predict.items():
        own = [i for i in images if (i.modality, i.label) in known and i.modality == modality]
        if own:
            said_NC = predict(features_of(ws, backbone, [i.file_sha256 for i in own]))
            for image, said_C in zip(own, said_NC, strict=True):
                place = trained.labels[modality].index(str(image.label))
                probability[image.item_key] = float(said_C[place])
    unchecked = {
        modality: "no label classifier: too few real images with two labels"
        for modality in sorted(asked - labels.keys())
    }
    for modality, label in sorted({(i.modality, i.label or "") for i in images} - known):
        if modality not in unchecked:
            name = f"{modality} {label or 'without label'}"
            unchecked[name] = left_out.get(name, "no real image of it")
    return LabelCheck(least, probability, accuracy, chance, unchecked, len(real))
