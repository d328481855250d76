"""Which images a fit must not see: whole groups, so that nothing about them leaks.

Shapes: N rated images.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from rewards.errors import RewardError
from rewards.ratings import RatedImages

MIN_PROMPTS = 10  # with fewer prompts, images are held out: a prompt left out is a finding unseen

Parts = NDArray[np.int64]


def parts(rated: RatedImages, count: int, seed: int, *, by: str) -> Parts:
    """Deal the images into `count` parts, whole groups of `by` ("prompt" or "image"); return [N].

    A patient's images are in one part, whatever `by` is. Good images are dealt evenly. RewardError
    when there are fewer groups than parts.
    """
    group_N = _groups(rated, by)
    if len(set(group_N)) < count:
        raise RewardError(
            f"Ratings of {len(set(group_N))} prompts or images, but a reward model needs {count} "
            "to hold some out. Rate more different images."
        )
    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    part_N = np.full(len(group_N), -1)
    image_R, grade_R = rated.image_R.numpy(), rated.grade_R.numpy()
    num_N = np.bincount(image_R, minlength=len(rated.prompts))
    totals_N = np.bincount(image_R, weights=grade_R, minlength=len(rated.prompts))
    mean_N = totals_N / np.maximum(num_N, 1)
    good_N = np.asarray(mean_N > np.median(mean_N))  # to be dealt evenly
    if not good_N.any():
        good_N = np.asarray(mean_N == mean_N.max())
    if min(good_N.sum(), (~good_N).sum()) < count:
        good_N = np.zeros_like(good_N)
    for part, (_, positions) in enumerate(dealer.split(group_N, good_N, group_N)):
        part_N[positions] = part
    return part_N


def kind_of_groups(rated: RatedImages) -> str:
    """Return "prompt", or "image" where prompts and patients make too few groups."""
    return "prompt" if len(set(_groups(rated, "prompt"))) >= MIN_PROMPTS else "image"


def _groups(rated: RatedImages, by: str) -> Parts:
    alone = [str(number) for number in range(len(rated.prompts))]
    names = list(rated.prompts) if by == "prompt" else alone
    patients = list(rated.patients) or [None] * len(names)
    nodes = [("name", name) for name in names]
    also = [
        ("patient", patient) if patient is not None else node
        for patient, node in zip(patients, nodes, strict=True)
    ]
    place = {node: number for number, node in enumerate(dict.fromkeys([*nodes, *also]))}
    ends = ([place[node] for node in nodes], [place[node] for node in also])
    links = coo_array((np.ones(len(names)), ends), shape=(len(place), len(place)))
    _, component = connected_components(links, directed=False)
    joined: Parts = component[ends[0]].astype(np.int64)
    return joined
