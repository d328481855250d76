"""Freeze a trained truth network's thresholds on real images, before any generator is looked at.

Shapes: B images, F findings.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rewards.frozen.config import MODALITIES
from rewards.frozen.corruptions import KINDS, corrupt_one_way
from rewards.frozen.data import RealImage, central_squares
from rewards.frozen.truth import Calibration, Finding, TruthNetwork

MEASURABLE = 0.6  # balanced accuracy, this finding against the others of its source; chance is 0.5
TOP_SHARE = 0.97  # of the real val images that get score 3: raters seldom fault a real image,
# and even so a blur of 1 px or noise of 0.06 never gets it (measure.py)
SPOILED_STRENGTH = 0.5  # of the corruptions whose middle truth parts score 1 from score 2
JUDGED = 0.75  # balanced accuracy from which on "shows what was asked" is graded at all
RIGHT_TOP, WRONG_NOT_TOP = 0.75, 0.85  # shares that the grade of an asked finding has to keep
# widest middle grade of a criterion, in truth: a rater's noise is a share of it, and grades far
# wider than good images differ drown what raters see in it
WIDEST = 1.0
TEMPERATURES = tuple(2 ** (k / 4) for k in range(-4, 17))


def calibrate(
    network: TruthNetwork, val: list[RealImage], held_out: list[RealImage]
) -> tuple[Calibration, dict[str, float]]:
    """Return what to freeze, and each finding's balanced accuracy.

    Findings are measured on val and `held_out`, patients the network has not learned from; the
    thresholds come from val alone.
    """
    unseen = val + held_out
    logits_BF = finding_logits(network, central_squares(unseen))
    accuracies = balanced_accuracies(network.findings, logits_BF, unseen)
    measurable = tuple(accuracies[_name(f)] >= MEASURABLE for f in network.findings)
    temperature = _best_temperature(network.findings, logits_BF, unseen, measurable)
    network.calibration = Calibration((0.0, 0.0), temperature, measurable)
    usual = usual_truths(network, unseen)
    network.calibration = replace(network.calibration, usual=usual)
    high = float(truths(network, val).quantile(1 - TOP_SHARE))
    low = min(float(spoiled_truths(network, val).median()), high - 1.0)
    frozen = replace(network.calibration, thresholds=(low, high))
    network.calibration = frozen
    real_high = float(looks(network, val).quantile(1 - TOP_SHARE))
    real_low = real_high - WIDEST
    asked = finding_thresholds(network, unseen, accuracies)
    return replace(frozen, looks_real=(real_low, real_high), shows_asked=asked), accuracies


@torch.no_grad()
def finding_thresholds(
    network: TruthNetwork, unseen: list[RealImage], accuracies: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """Return for each finding that can be judged from where on a 2 and a 3 are given.

    Judged are findings told from the others of their source at `JUDGED` on patients the network
    has not learned from, where one threshold keeps both shares: the top for `RIGHT_TOP` of the
    images that show what was asked, less than the top for `WRONG_NOT_TOP` of those that do not.
    """
    thresholds = {}
    for finding in network.findings:
        if accuracies[_name(finding)] < JUDGED:
            continue
        images = [image for image in unseen if image.source == finding.source]
        asked = [finding.modality] * len(images), [finding.label] * len(images)
        log_p = network.parts(central_squares(images), *asked).finding
        right = torch.tensor([image.label == finding.label for image in images])
        highest = float(log_p[right].quantile(1 - RIGHT_TOP))
        lowest = float(log_p[~right].quantile(WRONG_NOT_TOP))
        if lowest <= highest:
            high = (lowest + highest) / 2
            low = min(float(log_p[~right].median()), high - 0.5)
            thresholds[_name(finding)] = max(low, high - WIDEST), high
    return thresholds


def usual_truths(network: TruthNetwork, unseen: list[RealImage]) -> tuple[float, ...]:
    """Return the median truth of real images of each modality, 0 where there are none."""
    truth_B = truths(network, unseen)
    medians = []
    for modality in MODALITIES:
        own = torch.tensor([image.modality == modality for image in unseen])
        medians.append(float(truth_B[own].median()) if own.any() else 0.0)
    return tuple(medians)


@torch.no_grad()
def finding_logits(network: TruthNetwork, images_BCHW: Tensor) -> Tensor:
    """Return the findings' logits [B, F] before the temperature."""
    return torch.cat([network.heads(chunk).finding for chunk in images_BCHW.split(64)])


@torch.no_grad()
def truths(
    network: TruthNetwork, images: Sequence[RealImage], pixels: Tensor | None = None
) -> Tensor:
    """Return the truth [B] of images under their own modality and label."""
    return _by_chunks(images, pixels, lambda some, own: network.truth(some, *_asked(own)))


@torch.no_grad()
def looks(
    network: TruthNetwork, images: Sequence[RealImage], pixels: Tensor | None = None
) -> Tensor:
    """Return how real images [B] look as what their modality is, whatever they show."""
    return _by_chunks(images, pixels, lambda some, own: network.looks_real(some, _asked(own)[0]))


def spoiled_truths(network: TruthNetwork, val: list[RealImage]) -> Tensor:
    """Return the truths [kinds x B] of images corrupted in every way at the middle strength."""
    return torch.cat([truths(network, val, images) for images in spoiled(val)])


def spoiled(val: list[RealImage]) -> list[Tensor]:
    """Return the images corrupted in each way at the middle strength."""
    pixels, generator = central_squares(val), torch.Generator().manual_seed(0)
    partners = pixels.roll(1, dims=0)
    return [corrupt_one_way(pixels, partners, kind, SPOILED_STRENGTH, generator) for kind in KINDS]


def _asked(images: Sequence[RealImage]) -> tuple[list[str], list[str | None]]:
    return [i.modality for i in images], [i.label for i in images]


def _by_chunks(
    images: Sequence[RealImage],
    pixels: Tensor | None,
    measure: Callable[[Tensor, Sequence[RealImage]], Tensor],
) -> Tensor:
    pixels_BCHW = central_squares(list(images)) if pixels is None else pixels
    starts = range(0, len(images), 64)
    return torch.cat([measure(pixels_BCHW[s : s + 64], images[s : s + 64]) for s in starts])


def balanced_accuracies(
    findings: Sequence[Finding], logits_BF: Tensor, images: list[RealImage]
) -> dict[str, float]:
    """Return for each finding the mean of sensitivity and specificity among its source's images."""
    accuracies = {}
    for place, finding in enumerate(findings):
        rivals = [p for p, g in enumerate(findings) if g.source == finding.source]
        rows = [r for r, image in enumerate(images) if image.source == finding.source]
        truly = torch.tensor([images[r].label == finding.label for r in rows])
        said = logits_BF[rows][:, rivals].argmax(dim=1) == rivals.index(place)
        sensitivity = said[truly].float().mean()
        specificity = (~said)[~truly].float().mean()
        accuracies[_name(finding)] = float((sensitivity + specificity) / 2)
    return accuracies


def _best_temperature(
    findings: Sequence[Finding],
    logits_BF: Tensor,
    images: list[RealImage],
    measurable: tuple[bool, ...],
) -> float:
    """Return the temperature at which the findings' probabilities fit unseen real images best."""
    column = {f: p for p, f in enumerate(findings)}
    losses = torch.zeros(len(TEMPERATURES))
    for row, image in enumerate(images):
        place = column.get(Finding(image.modality, image.label, image.source))
        if place is None or not measurable[place]:
            continue
        rivals = [p for p, g in enumerate(findings) if g.source == image.source]
        for k, temperature in enumerate(TEMPERATURES):
            log_p = (logits_BF[row, rivals] / temperature).log_softmax(dim=0)
            losses[k] -= log_p[rivals.index(place)]
    return TEMPERATURES[int(losses.argmin())]


def _name(finding: Finding) -> str:
    return f"{finding.modality}: {finding.label}"
