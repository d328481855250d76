"""How many ratings the active choice needs for the AUC that random choice reaches with all.

    python -m benchmarks.active_selection WORKSPACE [--seeds 10]
    python -m benchmarks.active_selection POOL --data DATA [--seeds 10]

WORKSPACE has generated images of the modalities that the shipped eyes know (a finished
`curate quickstart` has); it is read and not changed. With --data the pool is that of
`benchmarks.reward_model`: made and real images, every second one spoiled. The truth is what the
eyes see. A third of the prompts is held out to measure on; from the rest images are chosen in
batches, each rated once by one of three simulated raters; a reward model is fitted after each.
Both ways are given the same seeds: prompts, raters and lapses differ from seed to seed.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from annotation.config import default_raters
from annotation.simulated import SimulatedRater
from benchmarks.reward_model import build_pool
from curate.evaluation.intervals import bootstrap_mean
from curate.rating.active import BY_LOT
from curate.samples.features import features_of
from curate.samples.stored import batches
from curate.workspace import open_workspace
from db import queries
from rewards import frozen
from rewards.backbones import Backbone, load_backbone
from rewards.config import RewardConfig
from rewards.informative import most_informative
from rewards.model import RewardModel, joint_before_any_rating
from rewards.ratings import RatedImages

Places = NDArray[np.int64]
Choose = Callable[["Pool", RewardModel | None, Places, Places, int, np.random.Generator], Places]


@dataclass(frozen=True)
class Pool:
    """Images with what the reward model and the raters see of them."""

    features_ND: Tensor
    modalities: Sequence[str]
    texts: Sequence[str]
    truth_N: Tensor
    thresholds: Sequence[float]
    grade_N: Places  # 0 .. 2, the truth

    @property
    def prompts(self) -> list[str]:
        """Each image's."""
        return [f"{m}: {t}" for m, t in zip(self.modalities, self.texts, strict=True)]

    def of(self, places: Places) -> tuple[Tensor, list[str], list[str]]:
        """Return features, modalities and texts of some."""
        chosen = places.tolist()
        return (
            self.features_ND[places],
            [self.modalities[place] for place in chosen],
            [self.texts[place] for place in chosen],
        )


def generated_pool(folder: Path, backbone: Backbone) -> Pool:
    eyes = frozen.load_eyes()
    with open_workspace(folder) as ws:
        images = queries.images.synthetic_images(ws.session, reward_model_id=None)
        files = [image.file_sha256 for image in images]
        truth = torch.zeros(len(images))
        for places, pixels in batches(ws.store, files, 64):
            asked = [images[place] for place in places]
            found = eyes.truth(pixels, [i.modality for i in asked], [i.label for i in asked])
            truth[places] = found
        return Pool(
            features_of(ws, backbone, files),
            [image.modality for image in images],
            [image.text for image in images],
            truth,
            eyes.thresholds,
            (truth[:, None] >= torch.tensor(eyes.thresholds)).sum(1).numpy(),
        )


def mixed_pool(data: Path, folder: Path, backbone: Backbone) -> Pool:
    pool = build_pool(data, folder, frozen.load_eyes(), backbone)
    return Pool(
        pool.features_BD,
        pool.modalities,
        pool.texts,
        pool.truth_B,
        pool.thresholds,
        pool.grade_B.numpy(),
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


def fit(pool: Pool, places: Places, backbone: Backbone, seed: int) -> RewardModel:
    values, names = rate(pool, places, seed)
    features_ND, modalities, texts = pool.of(places)
    config = RewardConfig(seed=seed, min_ratings=1, min_of_a_kind=0)
    prompts = pool.prompts
    return RewardModel(backbone, config).fit(
        RatedImages(
            features_ND=features_ND,
            modalities=modalities,
            texts=texts,
            prompts=[prompts[place] for place in places.tolist()],
            image_R=torch.arange(len(places)),
            grade_R=torch.tensor(values),
            raters=names,
            weight_R=torch.ones(len(places)),
        ),
        measured=False,
    )


@torch.no_grad()
def predicted(pool: Pool, model: RewardModel, places: Places) -> NDArray[np.float64]:
    """Return scores; what was never asked about, a modality without a rating, gets the usual."""
    known = [pool.modalities[place] in model.modalities_ for place in places.tolist()]
    mean = np.full(len(places), np.nan)
    mean[known] = model.predict_features(*pool.of(places[known]))[0].double().numpy()
    return np.nan_to_num(mean, nan=float(np.nanmean(mean)))


def choose_at_random(
    pool: Pool,
    model: RewardModel | None,
    own: Places,
    left: Places,
    count: int,
    chance: np.random.Generator,
) -> Places:
    return chance.choice(left, count, replace=False)


def choose_actively(
    pool: Pool,
    model: RewardModel | None,
    own: Places,
    left: Places,
    count: int,
    chance: np.random.Generator,
) -> Places:
    """As `curate.rating.active.select_active`, whose parts these are; time and noise are alike."""
    if model is not None and {pool.modalities[p] for p in left.tolist()} <= set(model.modalities_):
        joints, rated = model.joint(*pool.of(left)), 0
    else:
        config, rated = RewardConfig(), len(own)
        joints = [joint_before_any_rating(*pool.of(np.concatenate([left, own])), config)]
    places = most_informative(
        joints,
        count - round(BY_LOT * count),
        answered_N=np.arange(len(left) + rated) >= len(left),
        noise_N=np.ones(len(left) + rated),
        minutes_N=np.ones(len(left) + rated),
    )
    others = np.delete(left, places)
    return np.concatenate([left[places], chance.choice(others, count - len(places), replace=False)])


def curve(
    pool: Pool, choose: Choose, batch: int, num_batches: int, backbone: Backbone, seed: int
) -> list[tuple[float, float]]:
    """Return AUC (3 against 1) and rank correlation on held-out prompts after every batch."""
    chance = np.random.default_rng(seed)
    prompts = sorted(set(pool.prompts))
    held_out = set(chance.permutation(prompts)[: len(prompts) // 3].tolist())
    is_test = np.array([prompt in held_out for prompt in pool.prompts])
    test = np.flatnonzero(is_test)
    clear = pool.grade_N[test] != 1
    own, left = np.zeros(0, np.int64), np.flatnonzero(~is_test)
    model, found = None, []
    for _ in range(num_batches):
        own = np.concatenate([own, choose(pool, model, own, left, batch, chance)])
        left = np.setdiff1d(left, own)
        model = fit(pool, own, backbone, seed)
        score = predicted(pool, model, test)
        auc = roc_auc_score(pool.grade_N[test][clear] == 2, score[clear])
        found.append((float(auc), float(spearmanr(score, pool.truth_N[test]).statistic)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--data", type=Path, help="real images: the pool of the other benchmark")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone("embedded")
    pool = (
        mixed_pool(options.data, options.workspace, backbone)
        if options.data
        else generated_pool(options.workspace, backbone)
    )
    shares = (np.bincount(pool.grade_N, minlength=3) / len(pool.grade_N)).round(2)
    print(f"{len(pool.grade_N)} images; true grades 1, 2, 3: {shares}\n")
    found = {"random": choose_at_random, "active": choose_actively}
    curves = {
        name: np.array(
            [
                curve(pool, choose, options.batch, options.batches, backbone, seed)
                for seed in range(options.first_seed, options.first_seed + options.seeds)
            ]
        )
        for name, choose in found.items()
    }
    sizes = [options.batch * (n + 1) for n in range(options.batches)]
    for place, name in enumerate(("AUC 3 against 1", "rank correlation")):
        show(name, sizes, curves["random"][:, :, place], curves["active"][:, :, place])


def show(name: str, sizes: Sequence[int], random: NDArray, active: NDArray) -> None:
    """Print one table, and how many ratings each way needs for what random reaches with all."""
    print(f"| ratings | {name}: random | active | difference (95 %, over seeds) |")
    print("|---|---|---|---|")
    for place, size in enumerate(sizes):
        gain = bootstrap_mean(active[:, place] - random[:, place])
        print(
            f"| {size} | {random[:, place].mean():.3f} | {active[:, place].mean():.3f} "
            f"| {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"
        )
    wanted = random[:, -1].mean()
    reached = [n for n, value in zip(sizes, active.mean(0), strict=True) if value >= wanted]
    needed = f"{reached[0]}" if reached else f"more than {sizes[-1]}"
    print(f"\nrandom reaches {wanted:.3f} with {sizes[-1]} ratings, active with {needed}\n")


if __name__ == "__main__":
    main()
