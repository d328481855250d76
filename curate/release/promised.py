"""A release with a promise: selection first, then the threshold that its ratings certify.

The selection asks nothing of the ratings, so the rated images among those that a threshold admits
are a random draw of them. Only what the draw was from may leave.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from curate.errors import CurateError
from curate.release.certificate import Certificate, certify
from curate.release.config import ALL, ExportConfig
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
from curate.scoring.promise import Promise, Rung, num_needed
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
            "--target-precision sets the threshold itself: drop --threshold and --top-share."
        )
    if config.quota is not None:
        raise CurateError(
            "A promise is about all images above its threshold, and a quota admits worse ones "
            "where a label is short: drop --quota or --target-precision."
        )

    def reason(image: ScoredImage) -> str | None:
        if image.image_id in calibration.pool:
            return None
        return "outside the promise: rated before the calibration draw, or made after it"

    distinct = distinct_images(images, known, features, least_score=0.0, unfit=reason)
    parts = _parts(distinct, config)
    rungs = {modality: rungs_of(part, config, calibration) for modality, part in parts.items()}
    test = promise.shared_by(max(1, len(parts)))
    found = {m: certify(m, own, test, calibration.share_rated) for m, own in rungs.items()}
    certificate = Certificate(
        promise,
        calibration,
        certified=tuple(part for part in found.values() if part is not None),
        failed=tuple(modality for modality, part in found.items() if part is None),
    )
    thresholds = {part.modality: part.threshold for part in certificate.certified}
    if not thresholds:
        raise CurateError(_broken([rung for own in rungs.values() for rung in own], promise, test))
    reasons = dict(distinct.reasons)
    passed: set[str] = set()
    for modality, part in parts.items():
        reasons |= _not_admitted(part, modality, thresholds, calibration, promise)
        if modality in thresholds:
            best = admitted(part, thresholds[modality], config.per_label)
            passed |= {image.item_key for image in best}
            reasons |= over_the_limit(part, thresholds[modality], config.per_label)
    decisions = [
        Decision(
            image,
            image.item_key not in reasons,
            reasons.get(image.item_key, "score reaches the certified threshold"),
            thresholds.get(image.modality, thresholds.get(ALL, math.inf)),
        )
        for image in images
    ]
    return Promised(decisions, certificate, frozenset(passed))


def _parts(distinct: Distinct, config: ExportConfig) -> dict[str, Distinct]:
    """Return what each promise is about: all images, or those of each modality."""
    if not config.per_modality:
        return {ALL: distinct}
    places: dict[str, list[int]] = {}
    for place, image in enumerate(distinct.images):
        places.setdefault(image.modality, []).append(place)
    return {
        modality: replace(
            distinct,
            images=[distinct.images[place] for place in own],
            features_ND=distinct.features_ND[own],
            reasons={},
        )
        for modality, own in sorted(places.items())
    }


def rungs_of(distinct: Distinct, config: ExportConfig, calibration: Calibration) -> list[Rung]:
    """Return the candidate thresholds, strict first, with what the ratings say of each.

    They are scores at fixed places of the ranking, so that no rating has a say in them.
    """
    scores = [image.score for image in distinct.images if image.score is not None]
    places = {math.ceil(len(scores) * n / NUM_RUNGS) - 1 for n in range(1, NUM_RUNGS + 1)}
    thresholds = sorted({scores[place] for place in places if place >= 0}, reverse=True)
    rungs = []
    for threshold in thresholds:
        images = admitted(distinct, threshold, config.per_label)
        verdicts = [calibration.good[i.image_id] for i in images if i.image_id in calibration.good]
        num_errors = sum(verdict is not True for verdict in verdicts)
        rungs.append(Rung(threshold, len(images), len(verdicts), num_errors))
    return rungs


def _not_admitted(
    part: Distinct,
    modality: str,
    thresholds: Mapping[str, float],
    calibration: Calibration,
    promise: Promise,
) -> dict[str, str]:
    """Return why images of one promise stay: no threshold, a low score, or what raters found."""
    threshold = thresholds.get(modality)
    if threshold is None:
        reason = f"no threshold keeps the promise: {modality}, {100 * promise.target:g} % good"
        return {image.item_key: reason for image in part.images}
    found = {False: "raters did not find it good", None: "drawn for rating, and not rated"}
    reasons = {}
    for image in part.images:
        if image.score is None or image.score < threshold:
            reasons[image.item_key] = "score below the threshold"
        elif calibration.good.get(image.image_id, True) is not True:
            reasons[image.item_key] = found[calibration.good[image.image_id]]
    return reasons


def _broken(rungs: Sequence[Rung], promise: Promise, test: Promise) -> str:
    """Say why nothing leaves, and what could help."""
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
