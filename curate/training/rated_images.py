"""What people have said of images, as lessons: ratings for `nft`, comparisons for `dpo`.

The same answers count as for a reward model: no judge's rater, no gate, control or repeat.
Shapes: N rated images, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from curate.errors import CurateError
from curate.production.images import prompt_values
from curate.samples.stored import batches
from curate.scoring.fit import answers_hashes, answers_to_train_on
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.queries.ratings import ComparisonView, RatingView, goodness
from generators.base import Prompt, Trajectory
from generators.rl.algorithms.dpo import PreferredPairs
from generators.rl.config import RLConfig
from generators.rl.rated import RatedLatents, advantages_of_ratings

FEWEST = 20  # rated images, or comparisons: below, one rater's mood decides
IMAGES_A_BATCH = 32


@dataclass(frozen=True)
class Said:
    """What is learned from: one of the two, as the algorithm has it."""

    ratings: Sequence[RatingView] = ()
    comparisons: Sequence[ComparisonView] = ()  # without ties

    def named(self, ws: Workspace) -> dict[str, str]:
        """Return what names these answers by what they say, for the row of the version."""
        return {"answers_sha256": json_hash(answers_hashes(ws, self.ratings, self.comparisons))}


def said_for(ws: Workspace, algorithm: str) -> Said:
    """Return the answers that `nft` or `dpo` learns from; CurateError when too few, or for others.

    Of a pair only a preferred image says something: ties are left out.
    """
    if algorithm not in ("nft", "dpo"):
        raise CurateError(
            f"{algorithm} learns from new images and a reward. Straight from people learn nft "
            "(ratings) and dpo (comparisons)."
        )
    answers = answers_to_train_on(ws)
    pairs = [view for view in answers.comparisons if view.preferred != "tie"]
    said = Said(ratings=answers.ratings) if algorithm == "nft" else Said(comparisons=pairs)
    what = "rated images" if algorithm == "nft" else "comparisons with a preferred image"
    found = len({view.image_id for view in said.ratings}) + len(said.comparisons)
    if found < FEWEST:
        raise CurateError(
            f"{found} {what}, but {algorithm} needs {FEWEST}. Send more with `curate rate push`, "
            "fetch the answers with `curate rate pull`."
        )
    return said


def rated_latents(
    ws: Workspace, generator: Trajectory, said: Said, config: RLConfig
) -> RatedLatents:
    """Return every rated image as latents with its advantage; real images are brought to size."""
    views = said.ratings
    ids = dict.fromkeys(view.image_id for view in views)
    places = {image_id: place for place, image_id in enumerate(ids)}
    images = queries.images.prompted_images(ws.session, list(places))
    real = {view.image_id for view in views if view.origin == "real"}
    advantages_N = advantages_of_ratings(
        [float(goodness(view)) for view in views],
        [f"{view.rater} on {view.criterion}" for view in views],
        [places[view.image_id] for view in views],
        [image.prompt_id for image in images],
        [image.image_id in real for image in images],
        clip=config.advantage_clip,
    )
    return RatedLatents(
        latents=latents_of(ws, generator, [image.file_sha256 for image in images]),
        prompts=_prompts(ws, [image.prompt_id for image in images]),
        advantages_N=advantages_N,
    )


def preferred_pairs(ws: Workspace, generator: Trajectory, said: Said) -> PreferredPairs:
    """Return the preferred image of every pair beside the other, as latents."""
    ends = [
        (view.left_image_id, view.right_image_id)
        if (view.preferred == "left") == (view.polarity == "higher")
        else (view.right_image_id, view.left_image_id)
        for view in said.comparisons
    ]
    better = queries.images.prompted_images(ws.session, [first for first, _ in ends])
    worse = queries.images.prompted_images(ws.session, [second for _, second in ends])
    return PreferredPairs(
        better=latents_of(ws, generator, [image.file_sha256 for image in better]),
        worse=latents_of(ws, generator, [image.file_sha256 for image in worse]),
        prompts=_prompts(ws, [image.prompt_id for image in better]),
    )


def _prompts(ws: Workspace, prompt_ids: Sequence[str]) -> list[Prompt]:
    values = prompt_values(ws, list(dict.fromkeys(prompt_ids)), loaded=False)
    return [values[prompt_id] for prompt_id in prompt_ids]


@torch.no_grad()
def latents_of(ws: Workspace, generator: Trajectory, sha256s: Sequence[str]) -> Tensor:
    """Return stored images as latents on the CPU, in the generator's own size and channels."""
    codec = generator.codec
    channels, *size = generator.output.shape
    latents = torch.zeros(len(sha256s), *generator.latent_shape)
    for positions, images in batches(ws.store, sha256s, IMAGES_A_BATCH):
        if list(images.shape[2:]) != size:
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        if channels == 1:
            images = images.mean(dim=1, keepdim=True)
        encoded = codec.encode(codec.from_unit(images).to(generator.device))
        latents[positions] = encoded.float().cpu()
    return latents
