"""Which images a fit must not see: whole groups, so that nothing about them leaks.

Shapes: N rated images.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.ratings import Chosen, RatedImages

MIN_PROMPTS = 10  # with fewer prompts, images are held out: a prompt left out is a finding unseen

Parts = NDArray[np.int64]


def held_out_images(rated: RatedImages, config: RewardConfig) -> tuple[str, Chosen]:
    """Return ("prompt" or "image", which images are held out): whole groups of that kind.

    Of the possible parts, the one nearest to 1 / `held_out` of the images that leaves best and
    other ratings on both sides; RewardError when none does.
    """
    everything_N = np.ones(len(rated.prompts), dtype=bool)
    part_N = _parts(rated, everything_N, config.held_out, config.seed)
    choices = [part_N == part for part in range(config.held_out)]
    usable = [c for c in choices if _has_both(rated, c) and _has_both(rated, ~c)]
    if not usable:
        raise RewardError(
            f"The best ratings lie in so few of the {len(set(_groups(rated)))} groups (prompts or "
            "images) that none can be held out. Rate more images of mixed quality."
        )
    nearest = min(usable, key=lambda chosen: abs(chosen.mean() - 1 / config.held_out))
    return _kind_of_groups(rated), nearest


def parts(rated: RatedImages, chosen_N: Chosen, config: RewardConfig) -> Parts:
    """Deal the chosen images, group by group, into a part a member; -1 for the others."""
    return _parts(rated, chosen_N, config.num_members, config.seed + 1)


def _parts(rated: RatedImages, chosen_N: Chosen, count: int, seed: int) -> Parts:
    chosen = np.flatnonzero(chosen_N)
    groups = np.array(_groups(rated))[chosen]
    if len(set(groups)) < count:
        raise RewardError(
            f"Ratings of {len(set(groups))} prompts or images, but a reward model needs {count} "
            "to hold some out. Rate more different images."
        )
    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    part_N = np.full(len(chosen_N), -1)
    kind = _is_good(rated, chosen, count)
    for part, (_, positions) in enumerate(dealer.split(chosen, kind, groups)):
        part_N[chosen[positions]] = part
    return part_N


def _groups(rated: RatedImages) -> list[str]:
    if _kind_of_groups(rated) == "prompt":
        return list(rated.prompts)
    return [str(number) for number in range(len(rated.prompts))]


def _kind_of_groups(rated: RatedImages) -> str:
    return "prompt" if len(set(rated.prompts)) >= MIN_PROMPTS else "image"


def _is_good(rated: RatedImages, chosen: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return which images are rated above the middle, to be dealt evenly; none if too few are."""
    image_R, grade_R = rated.image_R.numpy(), rated.grade_R.numpy()
    totals_N = np.bincount(image_R, weights=grade_R, minlength=len(rated.prompts))
    mean_N = totals_N / np.bincount(image_R, minlength=len(rated.prompts))
    good = np.asarray(mean_N[chosen] > np.median(mean_N[chosen]))
    if not good.any():
        good = np.asarray(mean_N[chosen] == mean_N[chosen].max())
    return good if min(good.sum(), (~good).sum()) >= count else np.zeros_like(good)


def _has_both(rated: RatedImages, chosen_N: Chosen) -> bool:
    top_R = rated.grade_R[rated.of_images(chosen_N)] == len(rated.values) - 1
    return bool(top_R.any()) and not bool(top_R.all())
