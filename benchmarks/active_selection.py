"""How many ratings the active choice needs for the AUC that random choice reaches with all.

    python benchmarks/active_selection.py WORKSPACE

WORKSPACE has generated images of the modalities that the shipped eyes know (a finished
`curate quickstart` has); it is read and not changed, but for cached features. The truth is what the
eyes see. A third of the prompts is held out to measure on; from the rest images are chosen in
batches, each rated once by one of three simulated raters; a reward model is fitted after each.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from annotation.config import default_raters
from annotation.simulated import SimulatedRater
from curate.evaluation.features import features_of as compared_features
from curate.evaluation.features import unit
from curate.evaluation.intervals import bootstrap_mean
from curate.feature_cache import features_of
from curate.near_duplicates import nearest_known
from curate.rating.active import about_one, inclusion_probabilities, information, spread_draw
from curate.stored_images import batches
from curate.workspace import Workspace, open_workspace
from db import queries_release
from db.queries_release import ScoredImage
from rewards import frozen
from rewards.backbones import load_backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from rewards.ratings import RatedImages

Places = NDArray[np.int64]
Choose = Callable[["Pool", RewardModel | None, Places, int, np.random.Generator], Places]


@dataclass(frozen=True)
class Pool:
    """All images of a workspace with what the reward model and the raters see of them."""

    images: Sequence[ScoredImage]
    features_ND: Tensor  # of the reward backbone
    compared_NE: Tensor  # of the feature network, for novelty and spread
    truth_N: Tensor
    thresholds: Sequence[float]
    grade_N: Places  # 0 .. 2, the truth

    @property
    def prompts(self) -> list[str]:
        """Each image's."""
        return [image.prompt_id for image in self.images]


def read_pool(ws: Workspace, config: RewardConfig) -> Pool:
    eyes = frozen.load_eyes()
    images = queries_release.synthetic_images(ws.session, reward_model_id=None)
    files = [image.file_sha256 for image in images]
    truth = torch.zeros(len(images))
    for places, pixels in batches(ws.store, files, 64):
        asked = [images[place] for place in places]
        truth[places] = eyes.truth(pixels, [i.modality for i in asked], [i.label for i in asked])
    grade = sum((truth > threshold).long() for threshold in eyes.thresholds)
    return Pool(
        images,
        features_of(ws, load_backbone(config.backbone), files),
        unit(compared_features(ws, frozen.load_features(), files)),
        truth,
        eyes.thresholds,
        grade.numpy() if isinstance(grade, Tensor) else np.zeros(0, np.int64),
    )


def rate(pool: Pool, places: Places, seed: int) -> tuple[list[int], list[str]]:
    """One rating an image, 0 .. 2, by one of three raters in turn."""
    raters = [SimulatedRater(replace(config, seed=seed)) for config in default_raters(3)]
    values, names = [], []
    for place in places.tolist():
        rater = raters[place % 3]
        truth = [float(pool.truth_N[place])]
        [value] = rater.rate(truth, pool.thresholds, [f"{seed}/{place}"], min_value=0)
        values.append(value)
        names.append(f"rater {place % 3}")
    return values, names


def fit(pool: Pool, places: Places, config: RewardConfig, seed: int) -> RewardModel:
    values, names = rate(pool, places, seed)
    chosen = [pool.images[place] for place in places.tolist()]
    return RewardModel(load_backbone(config.backbone), config).fit(
        RatedImages(
            features_ND=pool.features_ND[places],
            modalities=[image.modality for image in chosen],
            texts=[image.text for image in chosen],
            prompts=[image.prompt_id for image in chosen],
            image_R=torch.arange(len(places)),
            grade_R=torch.tensor(values),
            raters=names,
            weight_R=torch.ones(len(places)),
        )
    )


@torch.no_grad()
def predicted(pool: Pool, model: RewardModel, places: Places) -> tuple[NDArray[np.float64], ...]:
    asked = [pool.images[place] for place in places.tolist()]
    known = [image.modality in model.modalities_ for image in asked]
    mean, spread = np.full(len(places), 0.5), np.full(len(places), 0.5)  # nothing known: as wide
    own = [place for place, is_known in zip(places.tolist(), known, strict=True) if is_known]
    shown = [pool.images[place] for place in own]
    found = model.predict_features(
        pool.features_ND[own], [i.modality for i in shown], [i.text for i in shown]
    )
    mean[known], spread[known] = (part.double().numpy() for part in found)
    return mean, spread


def choose_at_random(
    pool: Pool, model: RewardModel | None, left: Places, count: int, chance: np.random.Generator
) -> Places:
    return chance.choice(left, count, replace=False)


def choose_actively(
    pool: Pool, model: RewardModel | None, left: Places, count: int, chance: np.random.Generator
) -> Places:
    """As `curate.rating.active.select_active`, whose parts these are; raters agree alike here."""
    worth = np.ones(len(left))
    if model is not None:
        rated = np.setdiff1d(pool_places(pool), left)
        novelty = nearest_known(pool.compared_NE[left], pool.compared_NE[rated])
        told = information(*predicted(pool, model, left))
        worth = about_one(told) * about_one(novelty.double().numpy())
    probabilities = inclusion_probabilities(worth, count)
    return left[spread_draw(pool.compared_NE[left].double().numpy(), probabilities, chance)]


def pool_places(pool: Pool) -> Places:
    return np.arange(len(pool.images))


def aucs(
    pool: Pool, choose: Choose, batch: int, num_batches: int, config: RewardConfig, seed: int
) -> list[float]:
    """Return the AUC (3 against 1) on held-out prompts after every batch."""
    chance = np.random.default_rng(seed)
    prompts = sorted(set(pool.prompts))
    held_out = set(chance.permutation(prompts)[: len(prompts) // 3].tolist())
    is_test = np.array([prompt in held_out for prompt in pool.prompts])
    test = np.flatnonzero(is_test & (pool.grade_N != 1))
    own, left = np.zeros(0, np.int64), np.flatnonzero(~is_test)
    model, curve = None, []
    for _ in range(num_batches):
        own = np.concatenate([own, choose(pool, model, left, batch, chance)])
        left = np.setdiff1d(left, own)
        model = fit(pool, own, config, seed)
        mean, _ = predicted(pool, model, test)
        curve.append(float(roc_auc_score(pool.grade_N[test] == 2, mean)))
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--batches", type=int, default=6)
    options = parser.parse_args()
    config = RewardConfig()
    with open_workspace(options.workspace) as ws:
        pool = read_pool(ws, config)
    sizes = [options.batch * (n + 1) for n in range(options.batches)]
    curves: dict[str, list[list[float]]] = {"random": [], "active": []}
    for seed in range(options.seeds):
        for name, choose in (("random", choose_at_random), ("active", choose_actively)):
            settings = (options.batch, options.batches, replace(config, seed=seed), seed)
            curves[name].append(aucs(pool, choose, *settings))
    print(
        "| ratings | random, AUC | active, AUC | difference (95 %, over seeds) |\n|---|---|---|---|"
    )
    for place, size in enumerate(sizes):
        random, active = (np.array(curves[name])[:, place] for name in ("random", "active"))
        gain = bootstrap_mean(active - random)
        print(
            f"| {size} | {random.mean():.3f} | {active.mean():.3f} "
            f"| {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"
        )
    wanted = np.mean([curve[-1] for curve in curves["random"]])
    reached = [
        n for n, auc in zip(sizes, np.mean(curves["active"], 0), strict=True) if auc >= wanted
    ]
    needed = f"{reached[0]}" if reached else f"more than {sizes[-1]}"
    print(f"random reaches {wanted:.3f} with {sizes[-1]} ratings, active with {needed}")


if __name__ == "__main__":
    main()
