"""Which images are good, varied, new and no duplicates: one decision an image, with its reason.

First what may pass at all, best first and each unlike the better ones (`distinct_images`); then,
from a threshold on, no more of a label than asked, spread as their number allows (`admitted`).
Neither looks at a rating, so that rated images among the admitted speak for the others.

Shapes: N images, M training images, D features.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from torch import Tensor

from curate.errors import CurateError
from curate.release.config import DEFAULT_THRESHOLD, ExportConfig
from curate.samples.neighbours import first_within, nearest_known
from db.queries.images import ScoredImage

WIDENINGS = tuple(2 ** (step / 2) for step in range(6, 0, -1))  # of the radius: 8 .. 1.4 times

Features = Callable[[Sequence[ScoredImage]], Tensor]


@dataclass(frozen=True)
class Decision:
    """Whether one image is in the release, and why."""

    image: ScoredImage
    kept: bool
    reason: str
    threshold: float


@dataclass(frozen=True)
class Known:
    """What a new image must differ from."""

    real_pixels: Collection[str]  # pixel hashes of real images
    train_MD: Tensor  # features of the images that generators were trained on
    radius: float  # nearer than this in features, two images count as one
    rejected_versions: Mapping[str, str]  # version id -> "round 2 of loop"
    own_patients: Sequence[str | None] = ()  # of the last of the training images
    # {prompt: patients whose images are its condition images}
    behind: Mapping[str, Collection[str | None]] = field(default_factory=dict)
    unfit: Callable[[ScoredImage], str | None] = lambda image: None  # a further reason, if any
    # of images, best first: {item key: reason} of those that contradict a better one
    worse_twins: Callable[[Sequence[ScoredImage]], Mapping[str, str]] = lambda best_first: {}
    # is told how far each image is from the nearest training image
    note_distances: Callable[[Mapping[UUID, float]], None] = lambda found: None

    def distances(self, images: Sequence[ScoredImage], features_ND: Tensor) -> list[float]:
        """Return how far each image is from the nearest training image.

        Of an edit the training images of its own patient do not count: near its prior it shall be.
        """
        distances: list[float] = nearest_known(features_ND, self.train_MD).tolist()
        unknown = [None] * (len(self.train_MD) - len(self.own_patients))
        patients = [*unknown, *self.own_patients]
        for place, image in enumerate(images):
            own = set(self.behind.get(image.prompt_id, ())) - {None}
            if own and distances[place] < self.radius:
                others = [row for row, patient in enumerate(patients) if patient not in own]
                feature_1D = features_ND[place : place + 1]
                distances[place] = nearest_known(feature_1D, self.train_MD[others]).item()
        return distances


@dataclass
class Distinct:
    """Images that may pass, best first and no two alike; the reasons of those that may not."""

    images: list[ScoredImage]
    features_ND: Tensor
    radius: float
    reasons: dict[str, str] = field(default_factory=dict)  # by item key

    def drop(self, reason_of: Callable[[ScoredImage], str | None]) -> None:
        """Note the reason of each image that has one, and go on without it."""
        stays = []
        for place, image in enumerate(self.images):
            reason = reason_of(image)
            if reason is None:
                stays.append(place)
            else:
                self.reasons[image.item_key] = reason
        if len(self.features_ND):
            self.features_ND = self.features_ND[stays]
        self.images = [self.images[place] for place in stays]


def select_images(
    images: Sequence[ScoredImage], config: ExportConfig, known: Known, features: Features
) -> list[Decision]:
    """Return a decision for every image, in the order of `images`.

    Best first, an image is kept when its score reaches the threshold, its version was not
    rejected by a gate, its pixels are those of no other image, its features are not within
    `known.radius` of a training image (of another patient, where it is an edit) or of an image kept
    before it, and its label is not full.
    `features` gives [N, D] and is asked only for images that got that far.
    Raises CurateError when nothing is scored or nothing passes.
    """
    threshold = threshold_of(images, config, known)
    distinct = distinct_images(images, known, features, least_score=threshold)
    of_class: dict[tuple[str, str | None], float] = {}
    if config.quota is None:
        full = over_the_limit(distinct, threshold, config.per_label)
    else:
        full, of_class = _beyond_quota(distinct, config.quota)
    reasons = distinct.reasons | full
    if len(reasons) == len(images):
        raise CurateError(_only_copies(reasons))
    why = "score reaches the threshold" if config.quota is None else "among the best of its label"
    return [
        Decision(
            image,
            image.item_key not in reasons,
            reasons.get(image.item_key, why),
            of_class.get((image.modality, image.label), threshold),
        )
        for image in images
    ]


def distinct_images(
    images: Sequence[ScoredImage],
    known: Known,
    features: Features,
    *,
    least_score: float,
    unfit: Callable[[ScoredImage], str | None] = lambda image: None,
) -> Distinct:
    """Return the images from `least_score` on that are unlike training images and better ones.

    Whether an image stays depends on better images only, so that every threshold from
    `least_score` on finds the same. `unfit` may name further reasons to leave one out.
    """
    distinct = Distinct(
        sorted(images, key=lambda i: (-_score(i), i.item_key)), Tensor(), known.radius
    )
    distinct.drop(
        lambda image: unfit(image) or _unfit(image, least_score, known) or known.unfit(image)
    )
    if not distinct.images:
        if least_score <= 0:
            raise CurateError(_only_copies(distinct.reasons))
        scores = [image.score for image in images if image.score is not None]
        raise CurateError(
            f"None of {len(scores)} scored images reaches the threshold {least_score:.3f}; the "
            f"best has {max(scores):.3f}. Lower --threshold, keep a share with --top-share, or "
            "generate more."
        )
    first_with: dict[str, str] = {}

    def same_pixels(image: ScoredImage) -> str | None:
        if image.pixels_sha256 in known.real_pixels:
            return "pixels of a real image"
        first = first_with.setdefault(image.pixels_sha256, image.item_key)
        return None if first == image.item_key else f"pixels of a better image: {first[:12]}"

    distinct.drop(same_pixels)
    distinct.features_ND = features(distinct.images)
    distances = known.distances(distinct.images, distinct.features_ND)
    ids = [image.image_id for image in distinct.images]
    known.note_distances(dict(zip(ids, distances, strict=True)))
    near_train = {
        image.item_key: f"near a training image: distance {distance:.4f}, radius {known.radius:.4f}"
        for image, distance in zip(distinct.images, distances, strict=True)
        if distance < known.radius
    }
    distinct.drop(lambda image: near_train.get(image.item_key))
    if distinct.images:
        twins = first_within(distinct.features_ND, known.radius)
        near_better = {
            image.item_key: f"near a better image: {distinct.images[twin].item_key[:12]}"
            for image, twin in zip(distinct.images, twins, strict=True)
            if twin is not None
        }
        distinct.drop(lambda image: near_better.get(image.item_key))
        worse = known.worse_twins(distinct.images)
        distinct.drop(lambda image: worse.get(image.item_key))
    return distinct


def admitted(distinct: Distinct, threshold: float, per_label: int | None) -> list[ScoredImage]:
    """Return the images that this threshold and the limit of a label admit, best first."""
    full = over_the_limit(distinct, threshold, per_label)
    return [
        image
        for image in distinct.images
        if _score(image) >= threshold and image.item_key not in full
    ]


def over_the_limit(distinct: Distinct, threshold: float, per_label: int | None) -> dict[str, str]:
    """Return {item key: reason} of the images for which their modality and label has no room.

    A label that has too many keeps those that are farthest apart: best first, each at least so
    far from the better ones as the number allows, then what is missing, best first again.
    """
    if per_label is not None and per_label < 1:
        raise CurateError(f"{per_label} images per label: at least 1 is needed.")
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for place, image in enumerate(distinct.images):
        if _score(image) >= threshold:
            groups[image.modality, image.label].append(place)
    if per_label is None:
        return {}
    return {
        distinct.images[place].item_key: f"label is full: {per_label} images of "
        f"{' '.join(part for part in group if part)} are better or add more variety"
        for group, places in groups.items()
        for place in set(places) - _varied(distinct, places, per_label)
    }


def _beyond_quota(
    distinct: Distinct, quota: int
) -> tuple[dict[str, str], dict[tuple[str, str | None], float]]:
    """Return {item key: reason} of all but the best `quota` of each class, and its threshold."""
    num: Counter[tuple[str, str | None]] = Counter()
    reasons, thresholds = {}, dict[tuple[str, str | None], float]()
    for image in distinct.images:  # best first
        own = image.modality, image.label
        num[own] += 1
        if num[own] <= quota:
            thresholds[own] = _score(image)
        else:
            name = " ".join(part for part in own if part)
            reasons[image.item_key] = f"quota is full: {quota} images of {name} are better"
    return reasons, thresholds


def _varied(distinct: Distinct, places: Sequence[int], limit: int) -> set[int]:
    if len(places) <= limit:
        return set(places)
    features = distinct.features_ND[list(places)]
    apart: list[int] = []
    for widening in WIDENINGS:
        twins = first_within(features, widening * distinct.radius)
        apart = [place for place, twin in zip(places, twins, strict=True) if twin is None]
        if len(apart) >= limit:
            return set(apart[:limit])
    others = [place for place in places if place not in set(apart)]
    return set([*apart, *others][:limit])


def threshold_of(images: Sequence[ScoredImage], config: ExportConfig, known: Known) -> float:
    """Return the threshold that was asked for, or that keeps the share that was."""
    if config.threshold is not None and config.top_share is not None:
        raise CurateError("Both a threshold and a share were given. Drop one of them.")
    if config.quota is not None and (config.top_share is not None or config.per_label is not None):
        raise CurateError("--quota takes the best of each label: drop --top-share and --per-label.")
    scores = sorted(
        (i.score for i in images if i.score is not None and _may_pass(i, known)), reverse=True
    )
    if not images:
        raise CurateError(
            "There is no synthetic image to choose from. Make some with `curate generate`."
        )
    if not scores:
        raise CurateError(
            f"None of {len(images)} synthetic images that a gate has not rejected has a score by "
            "this reward model. Score them with `curate score`."
        )
    if config.quota is not None:
        return config.threshold or 0.0
    if config.top_share is None:
        return DEFAULT_THRESHOLD if config.threshold is None else config.threshold
    if not 0 < config.top_share <= 1:
        raise CurateError(f"A share of {config.top_share}: it must be above 0 and at most 1.")
    return scores[math.ceil(config.top_share * len(scores)) - 1]


def _may_pass(image: ScoredImage, known: Known) -> bool:
    return image.version_id not in known.rejected_versions


def _score(image: ScoredImage) -> float:
    return -1.0 if image.score is None else image.score


def _unfit(image: ScoredImage, least_score: float, known: Known) -> str | None:
    if not _may_pass(image, known):
        return f"generator version rejected: {known.rejected_versions[image.version_id]}"
    if image.score is None:
        return "not scored"
    return "score below the threshold" if image.score < least_score else None


def kind_of(reason: str) -> str:
    """Return a reason without what differs from image to image."""
    return reason.partition(":")[0]


def _only_copies(reasons: Mapping[str, str]) -> str:
    commonest = Counter(kind_of(reason) for reason in reasons.values()).most_common(1)
    return (
        f"No image is left of {len(reasons)}; the commonest reason, {commonest[0][1]} times: "
        f"{commonest[0][0]}. Generate more, or from a version that copies less "
        "(`curate evaluate` shows the memorised share)."
    )
