"""Measure what the raters' eyes and the judge say of real, mismatched and spoiled val images.

    python -m recipes.frozen_networks.measure DATA_FOLDER [--roc FILE.png]

Prints Markdown tables for each network: the shares of its scores, of *looks real* alone, and for
each finding that it grades how the right and the wrong one fare on the patients set aside, which
taught neither network and set no threshold; then how well the two agree, and the feature network's
distances. Shapes: B images.
"""

import argparse
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from recipes.frozen_networks.calibrate import looks, truths
from recipes.set_aside import is_set_aside
from rewards.frozen.config import MODALITIES, TRUTH_SIDE
from rewards.frozen.corruptions import KINDS, corrupt_one_way, gaussian_blur
from rewards.frozen.data import RealImage, central_squares, read_images, to_side
from rewards.frozen.networks import (
    load_eyes,
    load_features,
    load_judge,
    nearest_distances,
    train_features,
)
from rewards.frozen.truth import SHOWS_ASKED, TruthNetwork

BLURS = (0.5, 0.7, 1.0, 1.5, 2.0)  # sigma in pixels of the 64-pixel image
NOISES = (0.02, 0.04, 0.06, 0.1, 0.2)  # standard deviation, intensities in [0, 1]
STRENGTHS = (0.15, 0.3, 0.5, 0.8)  # of the other corruptions


def main() -> None:
    """Print the figures of the shipped networks on the val images of a data folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--roc", type=Path, help="draw a curve for each finding that is graded")
    options = parser.parse_args()
    torch.set_num_threads(1)
    val = read_images(options.data, split="val", side=TRUTH_SIDE)
    train = read_images(options.data, split="train", side=TRUTH_SIDE)
    aside = [image for image in train if is_set_aside(image.patient)]
    spoiled = spoiled_sets(central_squares(val))
    networks = {"eyes": load_eyes(), "judge": load_judge()}
    by_network = {}
    for name, network in networks.items():
        by_network[name] = {what: truths(network, val, pixels) for what, pixels in spoiled.items()}
        rows = dict(by_network[name])
        rows["wrong modality"] = wrong_modality_truths(network, val)
        rows["wrong finding"] = wrong_finding_truths(network, val)
        print_shares(name, network, rows)
        print_looks(name, network, {what: looks(network, val, spoiled[what]) for what in spoiled})
        print_looks(f"{name}, set aside", network, {"real": looks(network, aside)})
    figure = print_findings(networks, aside)
    if options.roc:
        figure.savefig(options.roc, dpi=100)
    print_agreement(by_network["eyes"], by_network["judge"])
    print_distances(spoiled)


def spoiled_sets(pixels: Tensor, strengths: tuple[float, ...] = STRENGTHS) -> dict[str, Tensor]:
    """Return the val images untouched, blurred, noisy, and corrupted in the other ways."""
    generator = torch.Generator().manual_seed(0)
    sets = {"real": pixels}
    for sigma in BLURS:
        own = sigma * pixels.shape[-1] / 64
        sets[f"blur {sigma} px"] = gaussian_blur(pixels, torch.full((len(pixels),), own))
    for deviation in NOISES:
        noise = deviation * torch.randn(pixels.shape, generator=generator)
        sets[f"noise {deviation}"] = (pixels + noise).clamp(0, 1)
    partners = pixels.roll(1, dims=0)
    for kind in KINDS:
        for strength in strengths:
            spoiled = corrupt_one_way(pixels, partners, kind, strength, generator)
            sets[f"{kind} at {strength}"] = spoiled
    return sets


@torch.no_grad()
def wrong_modality_truths(network: TruthNetwork, val: list[RealImage]) -> Tensor:
    """Return the truths of real images under the four other modalities, no finding asked."""
    pixels = central_squares(val)
    wrong = []
    for offset in range(1, len(MODALITIES)):
        places = [(MODALITIES.index(i.modality) + offset) % len(MODALITIES) for i in val]
        wrong.append(network.truth(pixels, [MODALITIES[p] for p in places], [None] * len(val)))
    return torch.cat(wrong)


@torch.no_grad()
def wrong_finding_truths(network: TruthNetwork, val: list[RealImage]) -> Tensor:
    """Return the truths of real images under every other measurable finding of their source."""
    wrong = []
    for finding, known in zip(network.findings, network.calibration.measurable, strict=True):
        others = [i for i in val if i.source == finding.source and i.label != finding.label]
        if known and others:
            asked = [finding.modality] * len(others), [finding.label] * len(others)
            wrong.append(network.truth(central_squares(others), *asked))
    return torch.cat(wrong) if wrong else torch.empty(0)


def score_shares(network: TruthNetwork, truth_B: Tensor) -> tuple[float, float, float]:
    """Return the shares of score 1, 2 and 3."""
    low, high = network.thresholds
    scores = (truth_B >= low).long() + (truth_B >= high).long()
    one, two, three = ((scores == place).float().mean().item() for place in range(3))
    return one, two, three


def spearman(a_B: Tensor, b_B: Tensor) -> float:
    """Return the rank correlation of two lists without ties."""
    ranks = torch.stack([x.argsort().argsort().float() for x in (a_B, b_B)])
    return float(torch.corrcoef(ranks)[0, 1])


def print_shares(name: str, network: TruthNetwork, rows: dict[str, Tensor]) -> None:
    """Print the shares of the scores as a Markdown table."""
    print(f"\n## {name}: thresholds {network.thresholds}, findings {dict(network.labels)}\n")
    print("| images | score 1 | score 2 | score 3 | mean truth |\n|---|---|---|---|---|")
    for what, truth_B in rows.items():
        one, two, three = score_shares(network, truth_B)
        print(f"| {what} | {one:.1%} | {two:.1%} | {three:.1%} | {truth_B.mean():.2f} |")


def print_looks(name: str, network: TruthNetwork, rows: dict[str, Tensor]) -> None:
    """Print the shares of the grades of *looks real* as a Markdown table."""
    assert network.calibration.looks_real is not None
    low, high = network.calibration.looks_real
    print(f"\n## {name}: looks real, thresholds {low:.2f}, {high:.2f}\n")
    print("| images | n | grade 1 | grade 3 |\n|---|---|---|---|")
    for what, looks_B in rows.items():
        one, three = (looks_B < low).float().mean(), (looks_B >= high).float().mean()
        print(f"| {what} | {len(looks_B)} | {one:.1%} | {three:.1%} |")


@torch.no_grad()
def print_findings(networks: dict[str, TruthNetwork], aside: list[RealImage]) -> Figure:
    """Print how *shows what was asked* grades real images; return the findings' ROC curves."""
    figure, axes = plt.subplots(1, len(networks), figsize=(10, 5), squeeze=False)
    for axis, (name, network) in zip(axes[0], networks.items(), strict=True):
        graded = network.calibration.shows_asked
        axis.set_prop_cycle(color=[matplotlib.colormaps["tab20"](k) for k in range(20)])
        print(f"\n## {name}: shows what was asked, {len(graded)} of {len(network.findings)}\n")
        print("| finding | images with it, without | AUC | right: grade 3 | wrong: at most 2 |")
        print("|---|---|---|---|---|")
        for finding in network.findings:
            asked = f"{finding.modality}: {finding.label}"
            images = [image for image in aside if image.source == finding.source]
            right = torch.tensor([image.label == finding.label for image in images])
            if asked not in graded or right.all() or not right.any():
                continue
            names = [finding.modality] * len(images), [finding.label] * len(images)
            grade = network.grades(central_squares(images), *names)[SHOWS_ASKED]
            auc = roc_auc_score(right, grade)
            top, low = (grade[right] >= 1).float().mean(), (grade[~right] < 1).float().mean()
            counts = f"{int(right.sum())}, {int((~right).sum())}"
            print(f"| {asked} | {counts} | {auc:.2f} | {top:.0%} | {low:.0%} |")
            false, true, _ = roc_curve(right, grade)
            axis.plot(false, true, label=f"{asked} ({auc:.2f})")
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.set(title=name, xlabel="wrong finding", ylabel="right finding")
        axis.legend(fontsize=6, loc="lower right")
    figure.tight_layout()
    return figure


def print_agreement(eyes: dict[str, Tensor], judge: dict[str, Tensor]) -> None:
    """Print the rank correlation of the two truths on the spoiled images, and on the real ones."""
    everything = [torch.cat(list(truth.values())) for truth in (eyes, judge)]
    print(f"\nSpearman of eyes and judge on all images: {spearman(*everything):.3f}")
    within = [
        spearman(torch.stack(list(eyes.values()))[:, i], torch.stack(list(judge.values()))[:, i])
        for i in range(len(eyes["real"]))
    ]
    print(f"among the spoiled versions of one image: {sum(within) / len(within):.3f}")
    print(f"among untouched real images: {spearman(eyes['real'], judge['real']):.3f}")


@torch.no_grad()
def print_distances(spoiled: dict[str, Tensor]) -> None:
    """Print how far val images and spoiled ones lie from the nearest train image."""
    known, network = train_features(), load_features()
    first = known.val_to_train.quantile(0.01)
    print(f"\nval to train: 1st percentile {first:.3f}, median {known.val_to_train.median():.3f}")
    for what in ("real", "blur 1.0 px", "noise 0.1", "shuffle at 0.5", "blend at 0.5"):
        distances = nearest_distances(network(to_side(spoiled[what])), known.features)
        print(f"{what}: median distance {distances.median():.3f}")


if __name__ == "__main__":
    main()
