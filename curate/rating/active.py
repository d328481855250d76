"""Which images to rate next: those from which a minute of a rater's time is expected to tell most.

What an image is worth is a product: how much the reward model's members disagree about it, how
unlike the rated images it is, how far raters agree on its modality, over the time that the modality
takes. Images are then drawn, not picked: each with a known probability that grows with its worth
and never falls below a floor, so that figures carry over to all images (Horvitz and Thompson
1952); and spread over the features by the local pivotal method (Grafstrom, Lundstrom and Schelin
2012, Biometrics 68:514), so that one batch does not ask the same twice.

Shapes: N images, R rated images, D features.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from curate.evaluation.features import features_of, unit
from curate.near_duplicates import nearest_known
from curate.rating.answers import goodness
from curate.rating.selection import Selected
from curate.workspace import Workspace
from db import queries, queries_active, queries_reward
from db.models import Image
from db.queries import RatingView
from rewards import frozen

FLOOR = 0.2  # of the draw goes to all images alike: no image is out of reach
MOST_COMPARED = 4000  # images of a larger pool are thinned by lot first: comparing is quadratic
WORTH_BETWEEN = (0.1, 10.0)  # times the median, for each factor: none decides alone

Values = NDArray[np.float64]


def select_active(ws: Workspace, images: Sequence[Image], *, count: int, seed: int) -> Selected:
    """Return `count` images and the probability with which each was drawn.

    Without a reward model, only novelty and spread decide.
    """
    if count >= len(images):
        return Selected(images, [1.0] * len(images))
    chance = np.random.default_rng([seed, len(images)])
    thinned, kept = _thinned(images, max(count, MOST_COMPARED), chance)
    network = frozen.load_features()
    features_ND = unit(features_of(ws, network, [image.file_sha256 for image in thinned]))
    views = queries.current_ratings(ws.session)
    rated = sorted({view.file_sha256 for view in views})
    rated_RD = unit(features_of(ws, network, rated))
    worth_N = (
        _disagreement(ws, thinned)
        * about_one(nearest_known(features_ND, rated_RD).double().numpy())
        * _agreement_and_time(ws, thinned, views)
    )
    probabilities_N = inclusion_probabilities(worth_N, count)
    drawn = spread_draw(features_ND.double().numpy(), probabilities_N, chance)
    return Selected(
        [thinned[place] for place in drawn],
        [float(probabilities_N[place] * kept) for place in drawn],
    )


def _thinned(
    images: Sequence[Image], most: int, chance: np.random.Generator
) -> tuple[list[Image], float]:
    """Return at most so many images by lot, and each one's chance to be among them."""
    if len(images) <= most:
        return list(images), 1.0
    places = sorted(chance.choice(len(images), most, replace=False).tolist())
    return [images[place] for place in places], most / len(images)


def _disagreement(ws: Workspace, images: Sequence[Image]) -> Values:
    """What a rating would tell of the ensemble; an image without a score is as unknown as any."""
    models = queries_reward.reward_models(ws.session, "reward")
    if not models:
        return np.ones(len(images))
    ids = [image.id for image in images]
    scores = queries_active.scores_of(ws.session, ids, models[-1].id)
    mean, spread = np.array(list(scores.values())).reshape(-1, 2).T
    known = dict(zip(scores, information(mean, spread).tolist(), strict=True))
    most = max(known.values(), default=1.0)
    return about_one(np.array([known.get(image_id, most) for image_id in ids]))


def information(mean_N: Values, spread_N: Values) -> Values:
    """Return what a rating is expected to tell of which member is right, in nats.

    A second-order form of the mutual information between the two (Houlsby et al. 2011, arXiv
    1112.5745) for a probability: its variance over the members over 2 p (1 - p).
    """
    told_N: Values = spread_N**2 / (2 * (mean_N * (1 - mean_N)).clip(min=0.01))
    return told_N


def _agreement_and_time(
    ws: Workspace, images: Sequence[Image], views: Sequence[RatingView]
) -> Values:
    """How far raters agree on a modality over how long it takes them, 1 where nothing is known."""
    modality = queries_active.modalities_of(ws.session, [image.prompt_id for image in images])
    agreement = agreement_by_modality(views)
    times: dict[str, list[float]] = defaultdict(list)
    for name, seconds in queries_active.rating_times(ws.session):
        times[name].append(seconds)
    usual = median(value for own in times.values() for value in own) if times else 1.0
    factor = {
        name: agreement.get(name, 1.0) * usual / max(median(times.get(name, [usual])), 1e-3)
        for name in set(modality.values())
    }
    return np.array([factor[modality[image.prompt_id]] for image in images]).clip(*WORTH_BETWEEN)


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


def about_one(values: Values) -> Values:
    """Scale to a median of 1, within bounds; all alike where nothing tells them apart."""
    finite = values[np.isfinite(values) & (values > 0)]
    if not len(finite):
        return np.ones(len(values))
    scaled: Values = np.nan_to_num(values / np.median(finite), posinf=WORTH_BETWEEN[1])
    return scaled.clip(*WORTH_BETWEEN)


def inclusion_probabilities(worth_N: Values, count: int) -> Values:
    """Return probabilities that sum to `count` and grow with the worth; each at most 1.

    A part of the draw goes to all alike; who would have more than certainty leaves the rest to
    the others.
    """
    weight_N = FLOOR / len(worth_N) + (1 - FLOOR) * worth_N / worth_N.sum()
    certain = np.zeros(len(worth_N), bool)
    while True:
        left = count - certain.sum()
        probabilities = np.where(certain, 1.0, left * weight_N / weight_N[~certain].sum())
        above = ~certain & (probabilities > 1)
        if not above.any():
            found: Values = probabilities
            return found
        certain |= above


def spread_draw(
    features_ND: Values, probabilities_N: Values, chance: np.random.Generator
) -> list[int]:
    """Draw places with just these probabilities, near ones seldom together.

    Again and again an undecided image and its nearest undecided neighbour settle between them,
    by lot, which of the two takes over the other's probability.
    """
    p = probabilities_N.copy()
    undecided = list(np.flatnonzero((p > 1e-9) & (p < 1 - 1e-9)))
    while len(undecided) > 1:
        at = int(chance.integers(len(undecided)))
        i = undecided.pop(at)
        others = features_ND[undecided] - features_ND[i]
        near = int(np.einsum("nd,nd->n", others, others).argmin())
        j = undecided[near]
        p[i], p[j] = _settled(p[i], p[j], chance.random())
        if not 1e-9 < p[j] < 1 - 1e-9:
            undecided.pop(near)
        if 1e-9 < p[i] < 1 - 1e-9:
            undecided.append(i)
    for last in undecided:  # rounding alone leaves one between
        p[last] = float(chance.random() < p[last])
    return [int(place) for place in np.flatnonzero(p > 0.5)]


def _settled(a: float, b: float, lot: float) -> tuple[float, float]:
    """One of the two becomes 0 or 1 and the other takes the rest; each keeps its expectation."""
    both = a + b
    if both < 1:
        return (both, 0.0) if lot < a / both else (0.0, both)
    return (1.0, both - 1) if lot < (1 - b) / (2 - both) else (both - 1, 1.0)
