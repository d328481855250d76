"""What a fit refuses, and what its user should know of the answers. Shapes: N rated images."""

from collections import defaultdict

import torch

from rewards.config import RewardConfig
from rewards.errors import RewardError
from rewards.ratings import RatedImages


def check_enough(rated: RatedImages, config: RewardConfig) -> None:
    """Raise RewardError when the answers are too few, of one kind, or on a question nobody got."""
    num_ratings, num_pairs = len(rated.grade_R), len(rated.comparisons.left_C)
    if num_ratings + num_pairs < config.min_ratings:
        compared = f" and {num_pairs} comparisons" if num_pairs else ""
        raise RewardError(
            f"{num_ratings} ratings{compared}, but a reward model needs {config.min_ratings}. Rate "
            "more images: `curate rate push` and `pull`, or `curate rate simulate`."
        )
    for criterion, name in enumerate(rated.criteria):
        asked = len(rated.grade_R)
        if rated.criterion_R is not None:
            asked = int((rated.criterion_R == criterion).sum())
        if asked + int((rated.comparisons.criterion_C == criterion).sum()) == 0:
            raise RewardError(
                f"Nobody answered {name!r}. Leave this criterion out, or rate images on it: "
                "`curate rate push`."
            )
    if num_pairs < config.min_ratings:  # enough comparisons part the images by themselves
        _check_kinds(rated, config)


def _check_kinds(rated: RatedImages, config: RewardConfig) -> None:
    num_ratings = len(rated.grade_R)
    num_top = int((rated.grade_R == len(rated.values) - 1).sum())
    if min(num_top, num_ratings - num_top) < config.min_of_a_kind:
        raise RewardError(
            f"{num_top} of {num_ratings} ratings are the best grade ({rated.values[-1]}); at least "
            f"{config.min_of_a_kind} must be, and {config.min_of_a_kind} must not. Rate images of "
            "mixed quality: more of them, or other versions' or prompts'."
        )


def what_to_know(rated: RatedImages) -> tuple[str, ...]:
    """Return what limits the fit, a sentence each."""
    notes = []
    if len(rated.all_raters()) == 1:
        notes.append(
            "one rater only: a strict rater cannot be told from bad images, nor slips from opinions"
        )
    pairs = rated.comparisons
    seen: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for left, right, won, criterion in torch.stack(
        [
            pairs.left_C.double(),
            pairs.right_C.double(),
            pairs.preference_C.double(),
            pairs.criterion_C.double(),
        ],
        dim=1,
    ).tolist():
        first, second = int(min(left, right)), int(max(left, right))
        seen[first, second, int(criterion)].append(won if left < right else 1 - won)
    repeated = [won for won in seen.values() if len(won) > 1]
    both_ways = sum(min(won) == 0 and max(won) == 1 for won in repeated)
    if both_ways:
        notes.append(
            f"{both_ways} of {len(repeated)} pairs that were compared more than once were answered "
            "both ways: they pull nowhere"
        )
    if len(set(rated.modalities)) == 1:
        notes.append("one modality only: no image can be found to show another one")
    return tuple(notes)
