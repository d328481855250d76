"""Cross-validation by prompt and patient: what a reward model says of images it never saw.

Shapes: N rated images, R ratings, C criteria, K thresholds between K + 1 rating values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewards.folds import Parts
from rewards.likelihood import grade_probabilities
from rewards.posterior import Calibration, above, expected, fit_calibration
from rewards.process import Congruence, Pairs, Process
from rewards.quality import (
    Grades,
    Quality,
    Scores,
    auc,
    auc_top_or_bottom,
    calibration_error,
    kappa_of_grades,
    kappa_of_raters,
    mean_by_grade,
    reliability_bins,
    spearman,
)
from rewards.ratings import RatedImages

MIN_GROUP = 20  # ratings of a modality or label that are worth a row of the fairness table

Refit = Callable[[Tensor], Process]  # positions of the images to learn from -> what was fitted


@dataclass(frozen=True)
class Latents:
    """Latent quality of every image, by the fit that did not see it; float64 [C, N]."""

    mean_CN: Tensor
    variance_CN: Tensor


@dataclass(frozen=True)
class HeldOut:
    """Latents of every image under its prompt; and swapped within the images held out together."""

    asked: Latents
    other_images: Latents
    other_prompts: Latents


@torch.no_grad()
def cross_fit(
    pairs: Pairs, part_N: Parts, refit: Refit, *, congruence: Congruence, num_criteria: int
) -> HeldOut:
    """Refit without each part in turn and return what those fits say of it."""
    kept = torch.zeros(3, 2, num_criteria, len(part_N), dtype=torch.float64)
    for part in range(part_N.max() + 1):
        process = refit(torch.from_numpy(np.flatnonzero(part_N != part)))
        here = torch.from_numpy(np.flatnonzero(part_N == part))
        other = here[torch.from_numpy(np.random.default_rng(part).permutation(len(here)))]
        for way, (image, prompt) in enumerate([(here, here), (other, here), (here, other)]):
            latent = process.latent(pairs.chosen(image, prompt), congruence)
            kept[way, :, :, here] = torch.stack(latent).double()
    return HeldOut(*(Latents(*latents) for latents in kept))


def calibrations(latents: Latents, rated: RatedImages) -> tuple[Calibration, ...]:
    """Return a calibration a criterion: three numbers or so that make held-out ratings likely."""
    found = []
    for criterion in range(len(rated.criteria)):
        own = criterion_of(rated) == criterion
        image_R = rated.image_R[own]
        found.append(
            fit_calibration(
                latents.mean_CN[criterion, image_R],
                latents.variance_CN[criterion, image_R],
                rated.grade_R[own],
                len(rated.values) - 1,
            )
        )
    return tuple(found)


def criterion_of(rated: RatedImages) -> Tensor:
    """Return the place of each rating's criterion [R]."""
    return torch.zeros_like(rated.image_R) if rated.criterion_R is None else rated.criterion_R


@dataclass(frozen=True)
class Promised:
    """Calibrated chances of held-out images: a grade above each threshold [C, N, K]."""

    asked_CNK: Tensor
    other_images_CNK: Tensor
    other_prompts_CNK: Tensor


@torch.no_grad()
def promised(held_out: HeldOut, calibrated: Sequence[Calibration]) -> Promised:
    """Return the chances that go with held-out latents."""
    ways = (held_out.asked, held_out.other_images, held_out.other_prompts)
    asked, images, prompts = (_chances(latents, calibrated) for latents in ways)
    return Promised(asked, images, prompts)


def _chances(latents: Latents, calibrated: Sequence[Calibration]) -> Tensor:
    each = zip(latents.mean_CN, latents.variance_CN, calibrated, strict=True)
    return torch.stack([expected(above(mean_N, var_N, one)) for mean_N, var_N, one in each])


def quality_of(
    rated: RatedImages,
    said: Promised,
    known: Promised,
    curve: Sequence[dict[str, Any]],
) -> Quality:
    """Return all figures of the score, the weakest criterion's chance of the top rating.

    `said` is of prompts and patients left out, `known` of new images of known prompts.
    """
    everything = torch.arange(len(rated.grade_R))
    weakest = Promised(
        said.asked_CNK.amin(0, keepdim=True),
        said.other_images_CNK.amin(0, keepdim=True),
        said.other_prompts_CNK.amin(0, keepdim=True),
    )
    by_criterion = {
        name: _figures(rated, _of(said, c), (criterion_of(rated) == c).nonzero().flatten())
        for c, name in enumerate(rated.criteria)
    }
    labels = list(rated.labels) or [None] * len(rated.modalities)
    within = set(zip(rated.modalities, labels, strict=True))
    whole = {(modality, None) for modality in rated.modalities}
    names = sorted(within | whole, key=lambda name: (name[0], name[1] is not None, name[1] or ""))
    return Quality(
        **_figures(rated, weakest, everything),
        known_prompts=short_figures(rated, known),
        groups=[row for m, x in names if (row := _group(rated, weakest, m, x, labels)) is not None],
        learning_curve=curve,
        criteria=by_criterion if len(rated.criteria) > 1 else {},
    )


def short_figures(rated: RatedImages, said: Promised) -> dict[str, float | None]:
    """Return the few figures of a point of the learning curve."""
    grade_R, top = rated.grade_R.numpy(), len(rated.values) - 1
    score_R = _scores(said.asked_CNK.amin(0), rated.image_R)
    return {
        "auc_top_or_bottom": auc_top_or_bottom(score_R, grade_R, top),
        "auc_top_or_rest": auc(score_R, grade_R == top),
        "spearman": spearman(score_R, grade_R),
        "ece": calibration_error(score_R, grade_R == top),
    }


def _of(said: Promised, criterion: int) -> Promised:
    only = slice(criterion, criterion + 1)
    return Promised(said.asked_CNK[only], said.other_images_CNK[only], said.other_prompts_CNK[only])


def _scores(above_NK: Tensor, image_R: Tensor) -> Scores:
    found: Scores = above_NK[image_R, -1].numpy()
    return found


def _figures(rated: RatedImages, said: Promised, ratings: Tensor) -> dict[str, Any]:
    image_R, top = rated.image_R[ratings], len(rated.values) - 1
    grade_R: Grades = rated.grade_R[ratings].numpy()
    is_top_R = grade_R == top
    score_R = _scores(said.asked_CNK[0], image_R)
    likeliest_R = grade_probabilities(said.asked_CNK[0])[image_R].argmax(1).numpy()
    raters = [rated.raters[r] for r in ratings.tolist()]
    items_R = (image_R * len(rated.criteria) + criterion_of(rated)[ratings]).numpy()
    means = mean_by_grade(score_R, grade_R) if len(grade_R) else {}
    return {
        "num_ratings": len(ratings),
        "num_images": len(image_R.unique()),
        "auc_top_or_bottom": auc_top_or_bottom(score_R, grade_R, top),
        "auc_top_or_rest": auc(score_R, is_top_R),
        "spearman": spearman(score_R, grade_R),
        "mean_by_value": {str(rated.values[grade]): mean for grade, mean in means.items()},
        "ece": calibration_error(score_R, is_top_R),
        "auc_images_shuffled": auc(_scores(said.other_images_CNK[0], image_R), is_top_R),
        "auc_prompts_shuffled": auc(_scores(said.other_prompts_CNK[0], image_R), is_top_R),
        "ordinal_accuracy": float((likeliest_R == grade_R).mean()) if len(grade_R) else 0.0,
        "kappa": kappa_of_grades(likeliest_R, grade_R, top + 1),
        "kappa_of_raters": kappa_of_raters(items_R, raters, grade_R, top + 1),
        "reliability": reliability_bins(score_R, is_top_R),
    }


def _group(
    rated: RatedImages,
    said: Promised,
    modality: str,
    label: str | None,
    labels: Sequence[str | None],
) -> dict[str, Any] | None:
    inside_N = torch.tensor(
        [
            m == modality and (label is None or x == label)
            for m, x in zip(rated.modalities, labels, strict=True)
        ]
    )
    ratings = inside_N[rated.image_R].nonzero().flatten()
    if len(ratings) < MIN_GROUP:
        return None
    grade_R = rated.grade_R[ratings].numpy()
    score_R = _scores(said.asked_CNK[0], rated.image_R[ratings])
    is_top_R = grade_R == len(rated.values) - 1
    return {
        "modality": modality,
        "label": label,
        "num_ratings": len(ratings),
        "share_of_top": float(is_top_R.mean()),
        "mean_score": float(score_R.mean()),
        "auc_top_or_rest": auc(score_R, is_top_R),
        "ece": calibration_error(score_R, is_top_R),
    }
