"""What people have said of images, as lessons: ratings for `nft`, comparisons for `dpo`.

Shapes: N rated images, P pairs.
"""

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor
from torch.nn import functional

from curate.errors import CurateError
from curate.generate import prompt_value
from curate.rating import goodness
from curate.reward_training import ratings_to_train_on
from curate.rl.algorithms.dpo import PreferredPairs
from curate.rl.config import RLConfig
from curate.rl.rated import RatedLatents, advantages_of_ratings
from curate.stored_images import batches
from curate.workspace import Workspace
from db import queries, queries_rl
from db.queries import RatingView
from generators.base import Conditions, Generator

FEWEST_RATED = 20  # images; below, one rater's mood decides
FEWEST_PAIRS = 20
IMAGES_A_BATCH = 32


def hash_of_ratings(views: Sequence[RatingView]) -> str:
    """Return what names this very set of ratings."""
    return queries.json_hash(sorted(str(view.rating_id) for view in views))


def hash_of_preferences(ws: Workspace) -> str:
    """Return what names the comparisons as they are now."""
    pairs = queries_rl.preferences(ws.session)
    return queries.json_hash([asdict(pair) for pair in pairs])


def ratings_to_learn_from(ws: Workspace) -> Sequence[RatingView]:
    """Return the ratings that a reward model would be fitted to; refuse too few images."""
    views = ratings_to_train_on(ws)
    num_images = len({(view.file_sha256, view.prompt_id) for view in views})
    if num_images < FEWEST_RATED:
        raise CurateError(
            f"{num_images} rated images, but learning straight from ratings needs {FEWEST_RATED}. "
            "Send more with `curate rate push`, fetch the answers with `curate rate pull`."
        )
    return views


def rated_latents(
    ws: Workspace, generator: Generator, views: Sequence[RatingView], config: RLConfig
) -> RatedLatents:
    """Return every rated image as latents with its advantage; real images are brought to size."""
    keys = list(dict.fromkeys((view.file_sha256, view.prompt_id) for view in views))
    place = {key: number for number, key in enumerate(keys)}
    real = {(view.file_sha256, view.prompt_id) for view in views if view.origin == "real"}
    advantages_N = advantages_of_ratings(
        [float(goodness(view)) for view in views],
        [view.rater for view in views],
        [place[view.file_sha256, view.prompt_id] for view in views],
        [prompt_id for _, prompt_id in keys],
        [key in real for key in keys],
        clip=config.advantage_clip,
    )
    return RatedLatents(
        latents=latents_of(ws, generator, [sha256 for sha256, _ in keys]),
        conditions=conditions_of(ws, generator, [prompt_id for _, prompt_id in keys]),
        advantages_N=advantages_N,
    )


def preferred_pairs(ws: Workspace, generator: Generator) -> PreferredPairs:
    """Return every pair of which one image was preferred. CurateError when they are too few."""
    pairs = queries_rl.preferences(ws.session)
    if len(pairs) < FEWEST_PAIRS:
        raise CurateError(
            f"{len(pairs)} comparisons with a preferred image, but dpo needs {FEWEST_PAIRS}. Ask "
            "for more in a comparison campaign, or learn from ratings with `nft`."
        )
    return PreferredPairs(
        better=latents_of(ws, generator, [pair.better_sha256 for pair in pairs]),
        worse=latents_of(ws, generator, [pair.worse_sha256 for pair in pairs]),
        conditions=conditions_of(ws, generator, [pair.prompt_id for pair in pairs]),
    )


def conditions_of(ws: Workspace, generator: Generator, prompt_ids: Sequence[str]) -> Conditions:
    """Return a row for each prompt id."""
    values = {prompt_id: prompt_value(ws, prompt_id) for prompt_id in dict.fromkeys(prompt_ids)}
    return generator.conditioner([values[prompt_id] for prompt_id in prompt_ids])


@torch.no_grad()
def latents_of(ws: Workspace, generator: Generator, sha256s: Sequence[str]) -> Tensor:
    """Return stored images as latents on the CPU, in the generator's own size and channels."""
    codec = generator.codec
    low, high = codec.value_range
    blank = torch.zeros(1, *generator.latent_shape, device=generator.device)
    channels, *size = codec.decode(blank).shape[1:]
    latents = torch.zeros(len(sha256s), *generator.latent_shape)
    for positions, images in batches(ws.store, sha256s, IMAGES_A_BATCH):
        if list(images.shape[2:]) != size:
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        if channels == 1:
            images = images.mean(dim=1, keepdim=True)
        encoded = codec.encode((low + (high - low) * images).to(generator.device))
        latents[positions] = encoded.float().cpu()
    return latents
