"""Freeze a trained truth network's thresholds on real images, before any generator is looked at.

Shapes: B images, F findings.
"""

from collections.abc import Sequence
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
    return replace(network.calibration, thresholds=(low, high)), accuracies


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
    pixels_BCHW = central_squares(list(images)) if pixels is None else pixels
    chunks = []
    for start in range(0, len(images), 64):
        some = images[start : start + 64]
        asked = [i.modality for i in some], [i.label for i in some]
        chunks.append(network.truth(pixels_BCHW[start : start + 64], *asked))
    return torch.cat(chunks)


def spoiled_truths(network: TruthNetwork, val: list[RealImage]) -> Tensor:
    """Return the truths [kinds x B] of images corrupted in every way at the middle strength."""
    pixels, generator = central_squares(val), torch.Generator().manual_seed(0)
    partners = pixels.roll(1, dims=0)
    spoiled = [
        corrupt_one_way(pixels, partners, kind, SPOILED_STRENGTH, generator) for kind in KINDS
    ]
    return torch.cat([truths(network, val, images) for images in spoiled])


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
