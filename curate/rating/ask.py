"""One way to ask raters, people or simulated: candidates, the draw, controls and repeats."""

import random
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from annotation.base import RaterProfile
from curate.errors import CurateError
from curate.image_service.spoiling import SPOILINGS
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import ORIGINS, PURPOSES, PushOptions, SimulateOptions
from curate.rating.draws import Selected, draw_at_random
from curate.rating.rubrics import load_rubric
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image


def candidates(
    ws: Workspace,
    options: PushOptions | SimulateOptions,
    *,
    modalities: Sequence[str] | None = None,
) -> list[Image]:
    """Return the images (of these modalities) that may be asked about and never were."""
    if options.purpose not in PURPOSES:
        raise CurateError(f"--purpose {options.purpose}; known: {', '.join(PURPOSES)}.")
    if options.origin not in ORIGINS:
        raise CurateError(f"--origin {options.origin}; known: {', '.join(ORIGINS)}.")
    version_id = (
        queries.versions.find_version(ws.session, options.version).id if options.version else None
    )
    return [
        image
        for origin in ORIGINS[options.origin]
        for image in queries.images.images_to_rate(
            ws.session, origin=origin, modalities=modalities, version_id=version_id
        )
        if options.among is None or image.id in options.among
    ]


def items_of(chosen: Selected, *, purpose: str, selection_method: str) -> list[Item]:
    """Return the chosen images as things to be judged one by one."""
    return [
        Item(
            image_id=image.id,
            purpose=purpose,
            selection_method=selection_method,
            inclusion_probability=probability,
        )
        for image, probability in zip(chosen.images, chosen.inclusion_probabilities, strict=True)
    ]


def ask(
    ws: Workspace,
    *,
    name: str,
    items: Sequence[Item],
    shown: Sequence[Image],
    raters: Sequence[RaterProfile],
    overlap: int,
    seed: int,
    control_fraction: float,
    repeat_fraction: float,
    backend: str,
    modalities: Sequence[str] | None = None,
    rubric: Path | None = None,
) -> Campaign:
    """Return the campaign in which the raters judge the items, made first when it is new.

    Controls, as a share of the images that the items show, are real images (of these modalities)
    that all of the raters see; to people, half of them are spoiled, so that all refuse them. Raises
    CurateError when the name stands for another plan.
    """
    are_simulated = all(rater.simulated for rater in raters)
    real = _controls(ws, shown, round(control_fraction * len(shown)), seed, modalities)
    if not are_simulated:
        random.Random(f"{seed}/controls").shuffle(real)
    ways = cycle(SPOILINGS)
    controls = [
        Item(image_id=image.id, purpose="control", selection_method="control")
        if are_simulated
        else Item(
            image_id=image.id,
            purpose="control",
            selection_method="known-bad" if place % 2 else "known-real",
            spoiled=next(ways) if place % 2 else None,
        )
        for place, image in enumerate(real)
    ]
    plan = CampaignPlan(
        name=name,
        items=tuple(items),
        controls=tuple(controls),
        raters=tuple(raters),
        overlap=overlap,
        seed=seed,
        repeat_fraction=repeat_fraction,
        backend=backend,
    )
    return make_campaign(ws, plan, load_rubric(ws, rubric))


def _controls(
    ws: Workspace,
    shown: Sequence[Image],
    count: int,
    seed: int,
    modalities: Sequence[str] | None,
) -> list[Image]:
    """Draw real images that came with the same condition images as those that are shown."""
    if not count:
        return []
    rated = {image.id for image in shown}
    real = queries.images.images_to_rate(ws.session, origin="real", modalities=modalities)
    given = queries.prompts.conditions_of(ws.session, [image.prompt_id for image in real])
    roles = set(queries.campaigns.shared_roles(ws.session, [image.prompt_id for image in shown]))
    fit = [
        image
        for image in real
        if image.id not in rated and roles <= given.get(image.prompt_id, {}).keys()
    ]
    return list(draw_at_random(fit, count, seed).images)
