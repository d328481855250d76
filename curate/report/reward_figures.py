"""How far the newest reward model is to be trusted, for the page. Shapes: H x W pixels."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from curate.production.images import prompt_value
from curate.report.pictures import png_uri
from curate.report.plots import LAST, MUTED, RATERS, plain, uri
from curate.samples.formats import read_sample
from curate.samples.renderings import montage
from curate.scoring.conditioning import conditioning_of
from curate.scoring.fit import load_reward_model
from curate.workspace import Workspace
from db.models import RewardModel
from db.queries.images import ScoredImage
from rewards.errors import RewardError
from rewards.saliency import saliency

SHOWN_SIDE = 128  # pixels
STRENGTH = 0.55  # of the colour where the map is 1
ORANGE = (0.95, 0.45, 0.1)


@dataclass(frozen=True)
class Overlay:
    """An image with what the model looks at in colour."""

    uri: str
    modality: str
    text: str
    score: float | None


@dataclass(frozen=True)
class RewardFigures:
    """What the page shows of one reward model."""

    reliability: str | None  # plots as data URIs
    learning_curve: str | None
    groups: Sequence[Mapping[str, Any]]  # the fairness table
    raters: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    overlays: Sequence[Overlay]


def reward_figures(
    ws: Workspace, row: RewardModel, images: Sequence[ScoredImage]
) -> RewardFigures | None:
    """Return the figures of a reward model and where it looks in `images`; None: none were kept."""
    metrics = row.metrics
    if "reliability" not in metrics:
        return None
    return RewardFigures(
        reliability=_reliability(metrics["reliability"]),
        learning_curve=_learning_curve(metrics["learning_curve"]),
        groups=metrics["groups"],
        raters=metrics["raters"],
        notes=metrics["notes"],
        overlays=_overlays(ws, row, images),
    )


def _reliability(bins: Sequence[Mapping[str, float]]) -> str | None:
    if not bins:
        return None
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    total = sum(each["num"] for each in bins)
    axes.scatter(
        [each["promised"] for each in bins],
        [each["found"] for each in bins],
        s=[20 + 300 * each["num"] / total for each in bins],
        color=LAST,
        alpha=0.85,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("promised share of best ratings")
    axes.set_ylabel("found share")
    plain(axes, grid="y")
    return uri(figure)


def _learning_curve(points: Sequence[Mapping[str, Any]]) -> str | None:
    shown = [point for point in points if point["auc_top_or_rest"] is not None]
    if len(shown) < 2:
        return None
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    numbers = [point["num_images"] for point in shown]
    axes.plot(numbers, [p["auc_top_or_rest"] for p in shown], color=RATERS, marker="o")
    axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlabel("images learned from")
    axes.set_ylabel("AUC, best-rated against others")
    plain(axes, grid="y")
    return uri(figure)


def _overlays(
    ws: Workspace, row: RewardModel, images: Sequence[ScoredImage]
) -> tuple[Overlay, ...]:
    try:
        model = load_reward_model(ws, row.id)
    except RewardError:
        return ()  # of another curate or backbone: its figures stay, it cannot be asked any more
    overlays = []
    for image in images:
        if image.modality not in model.modalities_:
            continue
        pixels = montage(read_sample(ws.store, image.file_sha256))
        with torch.enable_grad():
            asked = conditioning_of(prompt_value(ws, image.prompt_id), montage)
            heat_HW = saliency(model, pixels[None], [image.modality], [image.text], [asked])[
                0
            ].numpy()
        grey_HW3 = np.repeat(pixels.permute(1, 2, 0).numpy().mean(2, keepdims=True), 3, axis=2)
        weight_HW1 = STRENGTH * heat_HW[:, :, None] ** 2
        mixed_HW3 = (1 - weight_HW1) * grey_HW3 + weight_HW1 * np.array(ORANGE)
        picture = PillowImage.fromarray((255 * mixed_HW3.clip(0, 1)).round().astype(np.uint8))
        picture = picture.resize((SHOWN_SIDE, SHOWN_SIDE), PillowImage.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        shown = png_uri(buffer.getvalue())
        overlays.append(Overlay(shown, image.modality, image.text, image.score))
    return tuple(overlays)
