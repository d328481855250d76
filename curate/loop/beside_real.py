"""A new version beside real images: what a reward that has lost its scale moves first.

Each guard compares start and new version with the same real images and refuses only what its
interval excludes; all of them together refuse one version in twenty that is like its start. With
too few images a guard warns. Shapes: M real and N generated images, R resamples.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.evaluation.classifiers import LINEAR, Classifier
from curate.evaluation.features import network_features, unit
from curate.evaluation.fidelity import NEIGHBOURS
from curate.evaluation.intervals import Estimate, bootstrap_mean, difference_of_shares
from curate.evaluation.label_classifier import train_label_classifier
from curate.evaluation.privacy import auc
from curate.evaluation.sets import SetImage, set_image
from curate.evaluation.statistics import STATISTICS, image_statistics
from curate.loop.config import SafetyLimits
from curate.scoring.score import predictions
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt
from rewards import frozen
from rewards.model import RewardModel

UNSEEN = ("val", "test")  # splits that no reward model learns from
EXPOSURE = STATISTICS[:3]  # brightness, contrast, detail
RESAMPLES = 500


@dataclass(frozen=True)
class BesideReal:
    """What the guards found: reasons refuse, warnings do not."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """One modality's images: statistics and features of real, start's and new's."""

    statistics: Mapping[str, Tensor]  # "real", "start", "new" -> [images, statistics]
    features: Mapping[str, Tensor]
    shown: Mapping[str, Sequence[SetImage]] = field(default_factory=dict)  # what they (should) show

    @property
    def fewest(self) -> int:
        """Return how many images the smallest side has."""
        return min(len(values) for values in self.statistics.values())


def _reward_beside_real(
    real_M: Tensor, start_N: Tensor, new_N: Tensor, limits: SafetyLimits
) -> tuple[str | None, dict[str, Any]]:
    """Say whether a reward ranks the new version above real images that it has not seen.

    A start version may be there already: then nothing is refused unless it went farther.
    """
    before, after = auc(real_M, start_N), auc(real_M, new_N)
    metrics = {"start": vars(before), "new": vars(after)}
    if after.high >= limits.least_real_above or after.value >= before.value:
        return None, metrics
    reason = (
        f"the reward ranks the new version above real images: it prefers the real one in "
        f"{100 * after.value:.0f} % of pairs ({100 * after.low:.0f} to {100 * after.high:.0f} %; "
        f"start {100 * before.value:.0f} %, at least {100 * limits.least_real_above:.0f} %)"
    )
    return reason, metrics


def _exposure_beside_real(
    real_M: Tensor, start_N: Tensor, new_N: Tensor, limits: SafetyLimits, *, confidence: float
) -> tuple[bool, dict[str, float]]:
    """Say whether a statistic left that of real images, and farther than the start's."""
    usual = float(real_M.mean())
    before, after = float(start_N.mean()) / usual, float(new_N.mean()) / usual
    apart = -1.0 if after < 1 else 1.0
    one, other = (
        bootstrap_mean((apart * values_N / usual).numpy(), seed=seed, confidence=confidence)
        for seed, values_N in enumerate((start_N, new_N))
    )
    farther = other.value - one.value
    unsure = np.hypot(other.value - other.low, one.high - one.value)
    is_out = abs(after - 1) > limits.max_exposure and abs(after - 1) > abs(before - 1)
    beyond_chance = abs(after - 1) - (other.value - other.low) > limits.max_exposure
    is_refused = bool(is_out and beyond_chance and farther > unsure)
    return is_refused, {"start": before, "new": after}


def _manifold_falls(
    real_MD: Tensor, start_ND: Tensor, new_ND: Tensor, *, confidence: float, seed: int = 0
) -> dict[str, Estimate]:
    """Return how coverage and density changed, new less start, with bootstrap intervals.

    Real and generated images are drawn anew, the real ones alike for both.
    """
    k = NEIGHBOURS
    radius_M = torch.cdist(real_MD, real_MD).kthvalue(k + 1).values
    inside = [
        (torch.cdist(real_MD, own_ND) <= radius_M[:, None]).numpy() for own_ND in (start_ND, new_ND)
    ]

    def shown(within_MN: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([within_MN.any(1).mean(), within_MN.sum(0).mean() / k])

    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = random.integers(len(real_MD), size=len(real_MD))
        parts = [
            shown(own[rows][:, random.integers(own.shape[1], size=own.shape[1])]) for own in inside
        ]
        draws.append(parts[1] - parts[0])
    value = shown(inside[1]) - shown(inside[0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.array(draws), [tail, 1 - tail], axis=0)
    return {
        name: Estimate(float(value[at]), float(low[at]), float(high[at]), len(real_MD))
        for at, name in enumerate(("coverage", "density"))
    }


def _read_share_falls(
    groups: Mapping[str, Group], *, confidence: float
) -> tuple[str | None, dict[str, Any]]:
    """Say whether the requested labels are read less often, by a classifier of the real images.

    Of all modalities together: a modality whose labels nobody can tell adds noise, not a direction.
    Nothing is said where no modality has two labels of five real patients each.
    """
    right, totals = {"start": 0, "new": 0}, {"start": 0, "new": 0}
    for group in groups.values():
        classifier = train_label_classifier(
            Classifier(LINEAR), group.features["real"], group.shown["real"]
        )
        known = {label for labels in classifier.labels.values() for label in labels}
        for side in totals:
            read = classifier.read(group.features[side], group.shown[side])
            told = [
                image.label == said
                for image, said in zip(group.shown[side], read, strict=True)
                if image.label in known
            ]
            right[side] += sum(told)
            totals[side] += len(told)
    if not all(totals.values()):
        return None, {}
    change = difference_of_shares(
        (right["new"], totals["new"]), (right["start"], totals["start"]), confidence=confidence
    )
    shares = {side: right[side] / totals[side] for side in totals}
    metrics = {**shares, "change": vars(change)}
    if change.high >= 0:
        return None, metrics
    return (
        f"requested labels are read less often: in {100 * shares['new']:.0f} % of images, start "
        f"{100 * shares['start']:.0f} % (change {100 * change.low:.0f} to {100 * change.high:.0f} "
        "points)"
    ), metrics


def _guard_modalities(
    groups: Mapping[str, Group], limits: SafetyLimits
) -> tuple[list[str], list[str], dict[str, Any]]:
    """Return reasons, warnings and figures of all guards but the reward's."""
    enough = {name: group for name, group in groups.items() if group.fewest >= limits.fewest}
    num_tests = 1 + len(enough) * (len(EXPOSURE) + 2)  # the one: labels that are read
    confidence = 1 - limits.false_alarms / num_tests  # one-sided: half is the reward's
    reasons, found = [], dict[str, Any]()
    warnings = [
        f"{name}: {group.fewest} images of a kind, fewer than {limits.fewest}: not held against "
        "real ones"
        for name, group in groups.items()
        if name not in enough
    ]
    for name, group in enough.items():
        figures: dict[str, Any] = {}
        for at, statistic in enumerate(EXPOSURE):
            sides = [group.statistics[side][:, at] for side in ("real", "start", "new")]
            is_refused, figures[statistic] = _exposure_beside_real(
                sides[0], sides[1], sides[2], limits, confidence=confidence
            )
            if is_refused:
                shares = figures[statistic]
                reasons.append(
                    f"{name}: {statistic} left the real images': {shares['new']:.2f} of theirs, "
                    f"start {shares['start']:.2f} (at most {limits.max_exposure:.0%} off)"
                )
        real, start, new = (unit(group.features[side]) for side in ("real", "start", "new"))
        for kind, fall in _manifold_falls(real, start, new, confidence=confidence).items():
            figures[kind] = vars(fall)
            if fall.high < 0:
                reasons.append(
                    f"{name}: {kind} of real images fell by {-fall.value:.2f} "
                    f"({-fall.high:.2f} to {-fall.low:.2f})"
                )
        found[name] = figures
    reason, read = _read_share_falls(enough, confidence=confidence)
    return [*reasons, *([reason] if reason else [])], warnings, {"modalities": found, "read": read}


def check_beside_real(
    ws: Workspace,
    model: RewardModel,
    start: Sequence[Image],
    new: Sequence[Image],
    limits: SafetyLimits,
) -> BesideReal:
    """Hold two versions' images against the workspace's real ones."""
    asked = {prompt.modality for prompt in queries.prompts.prompts_of(ws.session, new)}
    real = [
        (image, prompt)
        for image, prompt in queries.images.real_images(ws.session, splits=("train", None, *UNSEEN))
        if prompt.modality in asked
    ]
    unseen = [image for image, _ in real if image.split in UNSEEN]
    reasons, warnings, metrics = _guard_modalities(_groups(ws, real, start, new), limits)
    given = _given_beyond_real(ws, new, unseen)
    if given:
        warnings.append(
            f"the images are made from a {' and a '.join(given)}, and real ones were given none: "
            "the reward is not held against them"
        )
    elif len(unseen) < limits.fewest:
        warnings.append(
            f"{len(unseen)} held-out real images, fewer than {limits.fewest}: the reward is not "
            "held against any (import some with split val)"
        )
    else:
        scores = [torch.tensor(predictions(ws, model, side)) for side in (unseen, start, new)]
        reason, metrics["reward"] = _reward_beside_real(scores[0], scores[1], scores[2], limits)
        reasons = [*([reason] if reason else []), *reasons]
    return BesideReal(tuple(reasons), tuple(warnings), {**metrics, "warnings": warnings})


def _given_beyond_real(ws: Workspace, new: Sequence[Image], real: Sequence[Image]) -> list[str]:
    """Return the roles of condition images that a reward model sees of the new images alone."""
    roles = [
        {role for own in queries.prompts.conditions_of(ws.session, ids).values() for role in own}
        for ids in (sorted({image.prompt_id for image in images}) for images in (new, real))
    ]
    return sorted(roles[0] - roles[1]) if real else []


def _groups(
    ws: Workspace,
    real: Sequence[tuple[Image, Prompt]],
    start: Sequence[Image],
    new: Sequence[Image],
) -> dict[str, Group]:
    """Return each modality's images, measured once."""
    network = frozen.load_features()
    sides = {"real": [image for image, _ in real], "start": list(start), "new": list(new)}
    statistics: dict[str, dict[str, Tensor]] = defaultdict(dict)
    features: dict[str, dict[str, Tensor]] = defaultdict(dict)
    shown: dict[str, dict[str, list[SetImage]]] = defaultdict(dict)
    for side, images in sides.items():
        if not images:
            continue
        hashes = [image.file_sha256 for image in images]
        prompts = queries.prompts.prompts_of(ws.session, images)
        show = [set_image(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        values, looks = image_statistics(ws, hashes), network_features(ws, network, hashes)
        for modality in sorted({image.modality for image in show}):
            rows = [row for row, image in enumerate(show) if image.modality == modality]
            statistics[modality][side], features[modality][side] = values[rows], looks[rows]
            shown[modality][side] = [show[row] for row in rows]
    return {
        modality: Group(own, features[modality], shown[modality])
        for modality, own in statistics.items()
        if len(own) == len(sides)
    }
