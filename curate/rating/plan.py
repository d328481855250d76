"""What people are asked -> a campaign's plan: images chosen, controls and repeats mixed in."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import cycle
from uuid import UUID

from curate.errors import CurateError
from curate.image_service.spoiling import SPOILINGS
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.config import ORIGINS, PURPOSES, PushOptions
from curate.rating.draws import Selected, draw_at_random
from curate.rating.label_studio import BACKEND
from curate.rating.people import active_profiles
from curate.rating.rubrics import load_rubric
from curate.rating.selection import select
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image


def plan_campaign(ws: Workspace, options: PushOptions) -> Campaign:
    """Return the campaign of this name: the one that is there, else a new one.

    Raises CurateError when there is nothing or nobody to ask.
    """
    known = queries.campaigns.find_campaign(ws.session, options.name)
    if known is not None:
        if known.backend != BACKEND:
            raise CurateError(
                f"Campaign {options.name!r} is one of {known.backend}. "
                "Give this one another --name."
            )
        return known
    _check_purpose(options)
    rubric = load_rubric(ws, options.rubric)
    candidates = _candidates(ws, options)
    chosen = select(
        ws, candidates, strategy=options.select, count=options.max_images, seed=options.seed
    )
    items = _pairs(chosen, candidates, options) if options.pairs else _images(chosen, options)
    plan = CampaignPlan(
        name=options.name,
        items=tuple(items),
        controls=() if options.pairs else tuple(_controls(ws, options, chosen)),
        raters=tuple(active_profiles(ws, options.raters)),
        overlap=options.overlap,
        seed=options.seed,
        repeat_fraction=options.repeat_fraction,
        backend=BACKEND,
    )
    return make_campaign(ws, plan, rubric)


def _check_purpose(options: PushOptions) -> None:
    """A calibration draw speaks for images that nobody has picked, one by one."""
    if options.purpose not in PURPOSES:
        raise CurateError(f"--purpose {options.purpose}; known: train, calibration.")
    picked = options.select == "active" or options.pairs or options.origin != "synthetic"
    if options.purpose == "calibration" and picked:
        raise CurateError(
            "Calibration needs synthetic images drawn at random and rated one by one: drop "
            "--select active, --pairs and --origin."
        )


def _candidates(ws: Workspace, options: PushOptions) -> list[Image]:
    if options.origin not in ORIGINS:
        raise CurateError(f"--origin {options.origin}; known: {', '.join(ORIGINS)}.")
    if (options.select == "version") != (options.version is not None):
        raise CurateError("--select version and --version go together: name both or neither.")
    version_id = (
        queries.versions.find_version(ws.session, options.version).id if options.version else None
    )
    images = [
        image
        for origin in ORIGINS[options.origin]
        for image in queries.images.images_to_rate(ws.session, origin=origin, version_id=version_id)
        if options.among is None or image.id in options.among
    ]
    if not options.pairs:
        return images
    num_of_prompt = Counter(image.prompt_id for image in images)
    return [image for image in images if num_of_prompt[image.prompt_id] > 1]


def _images(chosen: Selected, options: PushOptions) -> list[Item]:
    return [
        Item(
            image_id=image.id,
            purpose=options.purpose,
            selection_method=options.select,
            inclusion_probability=probability,
        )
        for image, probability in zip(chosen.images, chosen.inclusion_probabilities, strict=True)
    ]


def _pairs(chosen: Selected, candidates: Sequence[Image], options: PushOptions) -> list[Item]:
    """Pair images of one prompt by lot; one left over meets any other of its prompt."""
    chance = random.Random(f"{options.seed}/pairs")
    of_prompt = _by_prompt(candidates)
    probability = {
        image.id: value
        for image, value in zip(chosen.images, chosen.inclusion_probabilities, strict=True)
    }
    pairs = []
    for prompt_id, ids in _by_prompt(chosen.images).items():
        chance.shuffle(ids)
        pairs += list(zip(ids[::2], ids[1::2], strict=False))
        if len(ids) % 2:
            others = [image_id for image_id in of_prompt[prompt_id] if image_id != ids[-1]]
            pairs.append((ids[-1], chance.choice(others)))
    return [
        Item(
            image_id=first,
            other_image_id=second,
            selection_method=options.select,
            inclusion_probability=min(probability[first], probability.get(second, 1.0)),
        )
        for first, second in pairs
    ]


def _by_prompt(images: Sequence[Image]) -> dict[str, list[UUID]]:
    ids: dict[str, list[UUID]] = defaultdict(list)
    for image in images:
        ids[image.prompt_id].append(image.id)
    return ids


def _controls(ws: Workspace, options: PushOptions, chosen: Selected) -> list[Item]:
    """Draw real images for all raters: half as they are, half spoiled so that all refuse them."""
    rated = {image.id for image in chosen.images}
    real = _with_roles_of(
        ws,
        chosen.images,
        [
            image
            for image in queries.images.images_to_rate(ws.session, origin="real")
            if image.id not in rated
        ],
    )
    count = round(options.control_fraction * len(chosen.images))
    drawn = list(draw_at_random(real, count, options.seed).images)
    random.Random(f"{options.seed}/controls").shuffle(drawn)
    ways = cycle(SPOILINGS)
    return [
        Item(
            image_id=image.id,
            purpose="control",
            selection_method="known-bad" if place % 2 else "known-real",
            spoiled=next(ways) if place % 2 else None,
        )
        for place, image in enumerate(drawn)
    ]


def _with_roles_of(ws: Workspace, chosen: Sequence[Image], images: list[Image]) -> list[Image]:
    """Keep the images that come with all condition images that raters see beside the chosen."""
    roles = queries.campaigns.shared_roles(ws.session, [image.prompt_id for image in chosen])
    if not chosen or not roles:
        return images
    conditions = queries.prompts.conditions_of(ws.session, [image.prompt_id for image in images])
    return [image for image in images if set(roles) <= conditions.get(image.prompt_id, {}).keys()]
