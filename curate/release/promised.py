"""A release with a promise: selection first, then the threshold that its ratings certify.

The selection asks nothing of the ratings, so the rated images among those that a threshold admits
are a random draw of them. Only what the draw was from may leave.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from curate.errors import CurateError
from curate.release.certificate import ALL, Certificate, certify
from curate.release.config import ExportConfig
from curate.release.promise import Promise, Rung, num_needed
from curate.release.selection import (
    Decision,
    Distinct,
    Features,
    Known,
    admitted,
    distinct_images,
    over_the_limit,
)
from curate.scoring.calibration import Calibration
from db.queries.images import ScoredImage

NUM_RUNGS = 40  # thresholds tried: each admits another fortieth of the images


@dataclass(frozen=True)
class Promised:
    """What a promise came to: a decision for every image, and the certificate."""

    decisions: list[Decision]
    certificate: Certificate
    admitted: frozenset[str]  # item keys, those that were then found not good included


def select_with_promise(
    images: Sequence[ScoredImage],
    config: ExportConfig,
    known: Known,
    features: Features,
    calibration: Calibration,
    promise: Promise,
) -> Promised:
    """Return a decision for every image, in the order of `images`, and the certificate.

    Raises CurateError when no threshold keeps the promise.
    """
    if config.threshold is not None or config.top_share is not None:
        raise CurateError(
            "A target precision finds the threshold itself: drop --threshold and --top-share."
        )
    distinct = distinct_images(
        images, known, features, least_score=0.0, unfit=_outside(calibration)
    )
    certificate = _certificate(distinct, config, calibration, promise)
    if not certificate.certified:
        raise CurateError(_broken(distinct, config, calibration, promise))
    thresholds = {part.modality: part.threshold for part in certificate.certified}
    reasons = dict(distinct.reasons)
    passed: set[str] = set()
    for modality, part in _parts(distinct, config).items():
        threshold = thresholds.get(modality)
        reasons |= _reasons(part, threshold, config, promise, modality)
        if threshold is not None:
            passed |= {i.item_key for i in admitted(part, threshold, config.per_label)}
    reasons |= _found_bad(distinct, calibration, passed)
    return Promised(
        [_decision(image, reasons, thresholds) for image in images], certificate, frozenset(passed)
    )


def _outside(calibration: Calibration) -> Callable[[ScoredImage], str | None]:
    def reason(image: ScoredImage) -> str | None:
        if image.image_id in calibration.pool:
            return None
        return "outside the promise: rated before the calibration draw, or made after it"

    return reason


def _parts(distinct: Distinct, config: ExportConfig) -> dict[str, Distinct]:
    """Return what each promise is about: all images, or those of each modality."""
    if not config.per_modality:
        return {ALL: distinct}
    return {
        modality: _of_modality(distinct, modality)
        for modality in sorted({image.modality for image in distinct.images})
    }


def _of_modality(distinct: Distinct, modality: str) -> Distinct:
    places = [n for n, image in enumerate(distinct.images) if image.modality == modality]
    return replace(
        distinct,
        images=[distinct.images[place] for place in places],
        features_ND=distinct.features_ND[places],
        reasons={},
    )


def _certificate(
    distinct: Distinct, config: ExportConfig, calibration: Calibration, promise: Promise
) -> Certificate:
    parts = _parts(distinct, config)
    test = promise.shared_by(max(1, len(parts)))
    share = calibration.share_rated
    found = {
        modality: certify(modality, rungs_of(part, config, calibration), test, share)
        for modality, part in parts.items()
    }
    return Certificate(
        promise,
        calibration,
        certified=tuple(part for part in found.values() if part is not None),
        failed=tuple(modality for modality, part in found.items() if part is None),
    )


def rungs_of(distinct: Distinct, config: ExportConfig, calibration: Calibration) -> list[Rung]:
    """Return the candidate thresholds, strict first, with what the ratings say of each.

    They are scores at fixed places of the ranking, so that no rating has a say in them.
    """
    scores = [image.score for image in distinct.images if image.score is not None]
    places = {math.ceil(len(scores) * n / NUM_RUNGS) - 1 for n in range(1, NUM_RUNGS + 1)}
    thresholds = sorted({scores[place] for place in places if place >= 0}, reverse=True)
    return [
        _rung(threshold, admitted(distinct, threshold, config.per_label), calibration.good)
        for threshold in thresholds
    ]


def _rung(
    threshold: float, images: Sequence[ScoredImage], good: Mapping[UUID, bool | None]
) -> Rung:
    verdicts = [good[image.image_id] for image in images if image.image_id in good]
    return Rung(threshold, len(images), len(verdicts), sum(v is not True for v in verdicts))


def _reasons(
    part: Distinct, threshold: float | None, config: ExportConfig, promise: Promise, modality: str
) -> dict[str, str]:
    if threshold is None:
        reason = f"no threshold keeps the promise: {modality}, {100 * promise.target:g} % good"
        return {image.item_key: reason for image in part.images}
    below = {
        image.item_key: "score below the threshold"
        for image in part.images
        if image.score is None or image.score < threshold
    }
    return below | over_the_limit(part, threshold, config.per_label)


def _found_bad(
    distinct: Distinct, calibration: Calibration, passed: Collection[str]
) -> dict[str, str]:
    reasons = {False: "raters did not find it good", None: "drawn for rating, and not rated"}
    return {
        image.item_key: reasons[verdict]
        for image in distinct.images
        if image.item_key in passed and image.image_id in calibration.good
        for verdict in [calibration.good[image.image_id]]
        if verdict is not True
    }


def _decision(
    image: ScoredImage, reasons: Mapping[str, str], thresholds: Mapping[str, float]
) -> Decision:
    threshold = thresholds.get(image.modality, thresholds.get(ALL, math.inf))
    reason = reasons.get(image.item_key, "score reaches the certified threshold")
    return Decision(image, image.item_key not in reasons, reason, threshold)


def _broken(
    distinct: Distinct, config: ExportConfig, calibration: Calibration, promise: Promise
) -> str:
    """Say why nothing leaves, and what could help."""
    parts = _parts(distinct, config).values()
    rungs = [rung for part in parts for rung in rungs_of(part, config, calibration)]
    test = promise.shared_by(len(parts))
    best = min(
        rungs, key=lambda r: (r.num_errors / r.num_rated if r.num_rated else math.inf, -r.num_rated)
    )
    return (
        f"No threshold keeps the promise of {100 * promise.target:g} % good images at "
        f"{100 * promise.confidence:g} % confidence: nothing is exported. At best {best.num_errors}"
        f" of {best.num_rated} rated images were not good (threshold {best.threshold:.3f}); without"
        f" an error {num_needed(test)} are needed, with one {num_needed(test, errors=1)}. Promise "
        "less with --target-precision, rate a larger draw, or improve generator or reward model."
    )
