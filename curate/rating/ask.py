"""One way to ask raters, people or simulated: candidates, the draw, controls and repeats."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from uuid import UUID

from curate.errors import CurateError
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import ORIGINS, PURPOSES, PushOptions, SimulateOptions
from curate.rating.draws import Selected, draw_at_random
from curate.rating.edits import are_edits, edit_controls
from curate.samples.spoiling import SPOILINGS
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image, Practice, Rubric


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


def unpractised(
    ws: Workspace,
    images: Sequence[Image],
    practice_id: UUID | None,
    raters: Sequence[str],
) -> list[Image]:
    """Leave out what the practice shows, and what one of the raters has practised on anywhere.

    By file: the same picture may be there under several prompts, and as another image's prior.
    """
    practised = queries.practices.files_practised(ws.session, practice_id, raters)
    if not practised:
        return list(images)
    given = queries.prompts.conditions_of(ws.session, sorted({one.prompt_id for one in images}))
    return [
        image
        for image in images
        if practised.isdisjoint({image.file_sha256, *given.get(image.prompt_id, {}).values()})
    ]


def practice_named(
    ws: Workspace, options: PushOptions | SimulateOptions, known: Campaign | None = None
) -> Practice | None:
    """Return the practice that the options name, if they name one.

    CurateError where there is none, or `known`, a campaign that is there, has another one.
    """
    before = None if known is None else queries.practices.practice_of(ws.session, known.id)
    if options.practice is None:
        return before[0] if before else None
    found = queries.practices.find_practice(ws.session, options.practice)
    if found is None:
        names = ", ".join(row.name for row in queries.practices.practices(ws.session)) or "none"
        raise CurateError(
            f"No practice {options.practice!r}. Known: {names}. Make one with `curate rate "
            "practice make`."
        )
    if known is not None and (before is None or before[0].id != found.id):
        has = f"comes after practice {before[0].name!r}" if before else "comes after no practice"
        raise CurateError(
            f"Campaign {known.name!r} exists and {has}. Use another --name for the new campaign."
        )
    return found


def check_asks_the_same(ws: Workspace, found: Practice | None, rubric: Rubric) -> None:
    """Raise CurateError where a practice asks another version of a rubric than its campaign."""
    if found is not None and found.rubric_id != rubric.id:
        asked = ws.session.get_one(Rubric, found.rubric_id)
        raise CurateError(
            f"Practice {found.name!r} asks version {asked.version} of the rubric {asked.name!r}, "
            f"and the campaign version {rubric.version} of {rubric.name!r}. Make a practice for "
            "it with `curate rate practice make`, and the same --rubric."
        )


def asked_before(ws: Workspace, options: PushOptions | SimulateOptions) -> Rubric | None:
    """Return the rubric that the options' images belong to; None: there is none yet."""
    return None if options.rubric_id is None else ws.session.get_one(Rubric, options.rubric_id)


def items_of(chosen: Selected, *, purpose: str, selection_method: str) -> tuple[Item, ...]:
    """Return the chosen images as things to be judged one by one."""
    return tuple(
        Item(
            image_id=image.id,
            purpose=purpose,
            selection_method=selection_method,
            inclusion_probability=probability,
        )
        for image, probability in zip(chosen.images, chosen.inclusion_probabilities, strict=True)
    )


def ask(
    ws: Workspace,
    plan: CampaignPlan,
    rubric: Rubric,
    *,
    shown: Sequence[Image],
    control_fraction: float,
    modalities: Sequence[str] | None = None,
) -> Campaign:
    """Return the campaign of a plan that lacks its controls, made first when it is new.

    Controls, as a share of the images that the items show, are real images (of these modalities)
    that all of the raters see; to people, half of them are spoiled, so that all refuse them, and of
    edits they are priors and other patients in an edit's place. Raises CurateError when the name
    stands for another plan.
    """
    seed, are_simulated = plan.seed, all(rater.simulated for rater in plan.raters)
    real = _controls(ws, shown, round(control_fraction * len(shown)), plan, modalities)
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
    if not are_simulated and are_edits(ws, shown):
        controls = edit_controls(ws, shown, round(control_fraction * len(shown)), seed)
    return make_campaign(ws, replace(plan, controls=tuple(controls)), rubric)


def _controls(
    ws: Workspace,
    shown: Sequence[Image],
    count: int,
    plan: CampaignPlan,
    modalities: Sequence[str] | None,
) -> list[Image]:
    """Draw real images that came with the same condition images as those that are shown."""
    if not count:
        return []
    rated = {image.id for image in shown}
    real = unpractised(
        ws,
        queries.images.images_to_rate(ws.session, origin="real", modalities=modalities),
        plan.practice_id,
        [rater.name for rater in plan.raters],
    )
    given = queries.prompts.conditions_of(ws.session, [image.prompt_id for image in real])
    roles = set(queries.campaigns.shared_roles(ws.session, [image.prompt_id for image in shown]))
    fit = [
        image
        for image in real
        if image.id not in rated and roles <= given.get(image.prompt_id, {}).keys()
    ]
    return list(draw_at_random(fit, count, plan.seed).images)
