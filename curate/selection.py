"""Which images are good, varied, new and no duplicates: one decision an image, with its reason.

Shapes: N images, M training images, D features.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.privacy import nearest
from curate.export.config import DEFAULT_THRESHOLD, ExportConfig
from db.queries_release import ScoredImage

BLOCK = 512  # images compared at a time with those kept so far

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


def select_images(
    images: Sequence[ScoredImage], config: ExportConfig, known: Known, features: Features
) -> list[Decision]:
    """Return a decision for every image, in the order of `images`.

    Best first, an image is kept when its score reaches the threshold, its version was not
    rejected by a gate, its pixels are those of no other image, its features are not within
    `known.radius` of a training image or of an image kept before it, and its label is not full.
    `features` gives [N, D] and is asked only for images that got that far.
    Raises CurateError when nothing is scored or nothing passes.
    """
    threshold = _threshold(images, config, known)
    selection = _Selection(threshold)
    waiting = selection.drop(_ranked(images), lambda image: _unfit(image, threshold, known))
    if not waiting:
        raise CurateError(_nothing_passed(images, threshold))
    waiting = selection.drop(waiting, _SamePixels(known.real_pixels))
    waiting = _drop_near(selection, waiting, known, features)
    waiting = selection.drop(waiting, _LabelIsFull(config.per_label))
    if not waiting:
        raise CurateError(_only_copies(selection.reasons))
    return [
        Decision(image, image.item_key not in selection.reasons, reason, threshold)
        for image in images
        for reason in [selection.reasons.get(image.item_key, "score reaches the threshold")]
    ]


class _Selection:
    """The reasons so far, by item key."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.reasons: dict[str, str] = {}

    def drop(
        self, images: Sequence[ScoredImage], reason_of: Callable[[ScoredImage], str | None]
    ) -> list[ScoredImage]:
        """Note the reason of each image that has one; return the others."""
        passed = []
        for image in images:
            reason = reason_of(image)
            if reason is None:
                passed.append(image)
            else:
                self.reasons[image.item_key] = reason
        return passed


def _threshold(images: Sequence[ScoredImage], config: ExportConfig, known: Known) -> float:
    if config.threshold is not None and config.top_share is not None:
        raise CurateError("A threshold and a share were given; one of them decides. Drop one.")
    scores = sorted(
        (i.score for i in images if i.score is not None and _may_pass(i, known)), reverse=True
    )
    if not scores:
        raise CurateError(_nothing_scored(images))
    if config.top_share is None:
        return DEFAULT_THRESHOLD if config.threshold is None else config.threshold
    if not 0 < config.top_share <= 1:
        raise CurateError(f"A share of {config.top_share}: it lies above 0 and at most at 1.")
    return scores[math.ceil(config.top_share * len(scores)) - 1]


def _may_pass(image: ScoredImage, known: Known) -> bool:
    return image.version_id not in known.rejected_versions


def _ranked(images: Sequence[ScoredImage]) -> list[ScoredImage]:
    """Best first; the item key settles ties, so that the same rows give the same release."""
    return sorted(images, key=lambda i: (-(i.score if i.score is not None else -1), i.item_key))


def _unfit(image: ScoredImage, threshold: float, known: Known) -> str | None:
    if not _may_pass(image, known):
        return f"generator version rejected: {known.rejected_versions[image.version_id]}"
    if image.score is None:
        return "not scored"
    if image.score < threshold:
        return "score below the threshold"
    return None


class _SamePixels:
    """Tells of images whose pixels are those of a real image or of a better one before."""

    def __init__(self, real_pixels: Collection[str]) -> None:
        self.real_pixels = real_pixels
        self.first_with: dict[str, str] = {}

    def __call__(self, image: ScoredImage) -> str | None:
        if image.pixels_sha256 in self.real_pixels:
            return "pixels of a real image"
        first = self.first_with.setdefault(image.pixels_sha256, image.item_key)
        return None if first == image.item_key else f"pixels of a better image: {first[:12]}"


class _LabelIsFull:
    """Tells of images that come after the best `limit` of their modality and label."""

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise CurateError(f"{limit} images a label: at least 1 is needed.")
        self.limit = limit
        self.taken: Counter[tuple[str, str | None]] = Counter()

    def __call__(self, image: ScoredImage) -> str | None:
        group = (image.modality, image.label)
        if self.limit is not None and self.taken[group] >= self.limit:
            return (
                f"label is full: {self.limit} better images of {image.modality} {image.label or ''}"
            )
        self.taken[group] += 1
        return None


def _drop_near(
    selection: _Selection, images: Sequence[ScoredImage], known: Known, features: Features
) -> list[ScoredImage]:
    """Drop images within the radius of a training image, then of a better image that stays."""
    features_ND = features(images)
    distances_N, _ = nearest(features_ND, known.train_MD)
    from_train = {
        image.item_key: distance
        for image, distance in zip(images, distances_N.tolist(), strict=True)
        if distance < known.radius
    }
    new = selection.drop(
        images,
        lambda image: (
            f"near a training image: distance {from_train[image.item_key]:.4f}, "
            f"radius {known.radius:.4f}"
            if image.item_key in from_train
            else None
        ),
    )
    places = [place for place, image in enumerate(images) if image.item_key not in from_train]
    first = first_within(features_ND[places], known.radius)
    twins = {
        image.item_key: new[place].item_key
        for image, place in zip(new, first, strict=True)
        if place is not None
    }
    return selection.drop(
        new,
        lambda image: (
            f"near a better image: {twins[image.item_key][:12]}"
            if image.item_key in twins
            else None
        ),
    )


def first_within(features_ND: Tensor, radius: float) -> list[int | None]:
    """Return, for each image in order, an image before it that stays and is within `radius`.

    None: the image stays itself. An image that goes drops no other.
    """
    stays: list[int] = []
    answers: list[int | None] = []
    for start in range(0, len(features_ND), BLOCK):
        block_BD = features_ND[start : start + BLOCK]
        before, places_before = nearest(block_BD, features_ND[stays]) if stays else (None, None)
        inside_BB = torch.cdist(block_BD, block_BD, compute_mode="donot_use_mm_for_euclid_dist")
        stays_here: list[int] = []
        for row in range(len(block_BD)):
            twin = None
            if before is not None and places_before is not None and before[row] < radius:
                twin = stays[int(places_before[row])]
            elif stays_here and inside_BB[row, stays_here].min() < radius:
                twin = start + stays_here[int(inside_BB[row, stays_here].argmin())]
            answers.append(twin)
            if twin is None:
                stays_here.append(row)
        stays += [start + row for row in stays_here]
    return answers


def kind_of(reason: str) -> str:
    """Return a reason without what differs from image to image."""
    return reason.partition(":")[0]


def _nothing_scored(images: Sequence[ScoredImage]) -> str:
    if not images:
        return "No synthetic image to choose from. Make some with `curate generate`."
    return (
        f"None of {len(images)} synthetic images that a gate has not rejected has a score by this "
        "reward model. Score them with `curate score`."
    )


def _nothing_passed(images: Sequence[ScoredImage], threshold: float) -> str:
    scores = [image.score for image in images if image.score is not None]
    return (
        f"None of {len(scores)} scored images reaches the threshold {threshold:.3f}; the best has "
        f"{max(scores):.3f}. Lower --threshold, keep a share with --top-share, or generate more."
    )


def _only_copies(reasons: Mapping[str, str]) -> str:
    commonest = Counter(kind_of(reason) for reason in reasons.values()).most_common(1)
    return (
        f"No image is left of {len(reasons)}; the commonest reason, {commonest[0][1]} times: "
        f"{commonest[0][0]}. Generate more, or from a version that copies less "
        "(`curate evaluate` shows the memorised share)."
    )
