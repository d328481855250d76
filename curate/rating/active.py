"""Which images to rate next: those from which a minute of a rater's time is expected to tell most.

The reward model's posterior says what a rating would teach (`rewards.informative`): much where
it is unsure, where many images are alike, and where nothing of the batch is near. Raters who
disagree on a modality tell less there, and a modality that takes them long costs more. A tenth
of a batch is drawn by lot from all the others, so that what raters say can be carried over to all
images: a chosen one stands for itself, a drawn one for its share (Horvitz and Thompson 1952).

Shapes: N images, the answered ones last.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from curate.rating.draws import Selected
from curate.samples.features import features_of
from curate.scoring.conditioning import conditioning_for
from curate.scoring.fit import load_reward_model
from curate.workspace import Workspace
from db import queries
from db.models import Image
from db.queries.images import PromptedImage
from db.queries.ratings import RatingView, goodness
from rewards.backbones import load_backbone
from rewards.config import RewardConfig
from rewards.informative import Joint, most_informative
from rewards.model import RewardModel, joint_before_any_rating

BY_LOT = 0.1  # of a batch
MOST_COMPARED = 2000  # images of a larger pool are thinned by lot first: comparing is quadratic
MOST_CHOSEN = 500  # of a larger batch the rest is drawn by lot
BETWEEN = (0.1, 10.0)  # times the usual, for time and noise: neither decides alone

Values = NDArray[np.float64]


def select_active(
    ws: Workspace,
    images: Sequence[Image],
    *,
    count: int,
    seed: int,
    model: RewardModel | None = None,
) -> Selected:
    """Return `count` images and the probability with which each was chosen.

    By the latest reward model, if there is one that knows all their modalities; else by what they
    look like alone.
    """
    if count >= len(images):
        return Selected(images, [1.0] * len(images))
    chance = np.random.default_rng([seed, len(images)])
    places = chance.permutation(len(images))[: max(count, MOST_COMPARED)]
    thinned, kept = [images[place] for place in places], len(places) / len(images)
    num_chosen = min(count - round(BY_LOT * count), MOST_CHOSEN, MOST_COMPARED)
    chosen = _chosen(ws, thinned[:MOST_COMPARED], num_chosen, chance, model)
    others = np.setdiff1d(np.arange(len(thinned)), chosen)
    by_lot = sorted(chance.choice(others, count - len(chosen), replace=False).tolist())
    share = len(by_lot) / len(others)
    return Selected(
        [thinned[place] for place in [*chosen, *by_lot]],
        [kept] * len(chosen) + [kept * share] * len(by_lot),
    )


def _chosen(
    ws: Workspace,
    images: Sequence[Image],
    count: int,
    chance: np.random.Generator,
    model: RewardModel | None,
) -> list[int]:
    """Return the places of the images that tell most."""
    new = queries.images.prompted_images(ws.session, [image.id for image in images])
    views = queries.ratings.current_ratings(ws.session)
    if model is None and queries.reward_models.reward_models(ws.session, "reward"):
        model = load_reward_model(ws)
    if model is not None and not {image.modality for image in new} <= set(model.modalities_):
        model = None
    answered = _answered_since(ws, views, model, chance)
    known = [*new, *answered]
    config = RewardConfig()
    backbone = model.backbone if model else load_backbone(config.backbone)
    features_ND = features_of(ws, backbone, [image.file_sha256 for image in known])
    modalities, texts = [image.modality for image in known], [image.text for image in known]
    if model is None:
        joints: Sequence[Joint] = [joint_before_any_rating(features_ND, modalities, texts, config)]
    else:
        shown = [(image.file_sha256, image.prompt_id) for image in known]
        joints = model.joint(features_ND, modalities, texts, conditioning_for(ws, model, shown))
    noise_N, minutes_N = _noise_and_time(ws, known, views)
    answered_N = np.arange(len(noise_N)) >= len(new)
    return most_informative(
        joints, count, answered_N=answered_N, noise_N=noise_N, minutes_N=minutes_N
    )


def _answered_since(
    ws: Workspace,
    views: Sequence[RatingView],
    model: RewardModel | None,
    chance: np.random.Generator,
) -> list[PromptedImage]:
    """Return images rated since the model was fitted, all without one; at most half as many as
    may be compared."""
    ids = dict.fromkeys(view.image_id for view in views)
    if model is not None:
        [*_, latest] = queries.reward_models.reward_models(ws.session, "reward")
        learned = queries.reward_models.images_behind(ws.session, latest.id)
        ids = dict.fromkeys(image_id for image_id in ids if image_id not in learned)
    shown = queries.images.prompted_images(ws.session, list(ids))
    if model is not None:
        shown = [image for image in shown if image.modality in model.modalities_]
    some = chance.permutation(len(shown))[: MOST_COMPARED // 2]
    return [shown[place] for place in some]


def _noise_and_time(
    ws: Workspace, images: Sequence[PromptedImage], views: Sequence[RatingView]
) -> tuple[Values, Values]:
    """Return how noisy a rating of each image's modality is, and how long it takes; 1 = usual."""
    agreement = agreement_by_modality(views)
    usual_agreement = float(np.mean(list(agreement.values()))) if agreement else 1.0
    times: dict[str, list[float]] = defaultdict(list)
    for name, seconds in queries.ratings.rating_times(ws.session):
        times[name].append(seconds)
    usual_time = median(value for own in times.values() for value in own) if times else 1.0
    noise, minutes = {}, {}
    for name in {image.modality for image in images}:
        noise[name] = usual_agreement / max(agreement.get(name, usual_agreement), 1e-3)
        minutes[name] = median(times.get(name, [usual_time])) / max(usual_time, 1e-3)
    return (
        np.array([noise[image.modality] for image in images]).clip(*BETWEEN),
        np.array([minutes[image.modality] for image in images]).clip(*BETWEEN),
    )


def agreement_by_modality(views: Sequence[RatingView]) -> dict[str, float]:
    """Return 1 minus the mean distance of two raters' values, as a share of the scale.

    Only images that several raters judged on a criterion tell; a modality without one is not in.
    """
    values: dict[tuple[str, object, str], list[float]] = defaultdict(list)
    for view in views:
        share = (goodness(view) - view.min_value) / (view.max_value - view.min_value)
        values[view.modality, view.image_id, view.criterion].append(share)
    distances: dict[str, list[float]] = defaultdict(list)
    for (modality, _, _), own in values.items():
        pairs = [abs(a - b) for n, a in enumerate(own) for b in own[n + 1 :]]
        if pairs:
            distances[modality].append(float(np.mean(pairs)))
    return {modality: 1 - float(np.mean(own)) for modality, own in distances.items()}
