"""Campaigns on the default rubric, as tests and benchmarks ask for them in one line."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from annotation.base import RaterProfile
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image


def create_campaign(
    ws: Workspace,
    *,
    name: str,
    images: Sequence[Image],
    raters: Sequence[RaterProfile],
    overlap: int = 2,
    seed: int = 0,
    purpose: str = "train",
    selection_method: str = "all",
    inclusion_probability: float = 1.0,
    controls: Sequence[Image] = (),
    repeat_fraction: float = 0.0,
    backend: str = "simulated",
    pairs: bool = False,
    rubric_version: int = 1,
) -> Campaign:
    """Return the campaign of this name, made first when it is new.

    With `pairs`, each image is compared with the next of its prompt.
    """
    of_prompt: dict[str, list[UUID]] = defaultdict(list)
    for image in images:
        of_prompt[image.prompt_id].append(image.id)
    shown: list[tuple[UUID, UUID | None]] = [(image.id, None) for image in images]
    if pairs:
        shown = [pair for ids in of_prompt.values() for pair in pairwise(ids)]
    plan = CampaignPlan(
        name=name,
        items=tuple(
            Item(
                image_id=image_id,
                other_image_id=other_id,
                purpose=purpose,
                selection_method=selection_method,
                inclusion_probability=inclusion_probability,
            )
            for image_id, other_id in shown
        ),
        controls=tuple(
            Item(image_id=image.id, purpose="control", selection_method="control")
            for image in controls
        ),
        raters=tuple(raters),
        overlap=overlap,
        seed=seed,
        repeat_fraction=repeat_fraction,
        backend=backend,
    )
    rubric, _ = queries.campaigns.default_rubric(ws.session, rubric_version)
    return make_campaign(ws, plan, rubric)
