"""What people are asked -> a campaign's plan: images chosen, controls and repeats mixed in."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from uuid import UUID

from curate.errors import CurateError
from curate.rating.active import select_active
from curate.rating.ask import (
    ask,
    asked_before,
    candidates,
    check_asks_the_same,
    items_of,
    practice_named,
    unpractised,
)
from curate.rating.campaigns import CampaignPlan, Item
from curate.rating.config import LOCAL, PushOptions
from curate.rating.draws import Selected, draw_at_random
from curate.rating.people import active_profiles
from curate.rating.rubrics import rubric_asked
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Image


def plan_campaign(ws: Workspace, options: PushOptions, *, images_from: str = LOCAL) -> Campaign:
    """Return the campaign of this name: the one that is there, else a new one.

    Raises CurateError when there is nothing or nobody to ask.
    """
    known = queries.campaigns.find_campaign(ws.session, options.name)
    if known is not None:
        if known.backend != options.backend:
            raise CurateError(
                f"Campaign {options.name!r} is one of {known.backend}. "
                "Use another --name for this one."
            )
        practice_named(ws, options, known)
        return known
    _check_together(options)
    practice, raters = practice_named(ws, options), active_profiles(ws, options.raters)
    practice_id = None if practice is None else practice.id
    names = [rater.name for rater in raters]
    images = unpractised(ws, candidates(ws, options), practice_id, names)
    if options.pairs:
        num_of_prompt = Counter(image.prompt_id for image in images)
        images = [image for image in images if num_of_prompt[image.prompt_id] > 1]
    count = len(images) if options.max_images is None else options.max_images
    if options.select == "active":
        chosen = select_active(ws, images, count=count, seed=options.seed)
    else:
        chosen = draw_at_random(images, count, options.seed)
    plan = CampaignPlan(
        name=options.name,
        items=tuple(_pairs(chosen, images, options))
        if options.pairs
        else items_of(chosen, purpose=options.purpose, selection_method=options.select),
        raters=tuple(raters),
        overlap=options.overlap,
        seed=options.seed,
        repeat_fraction=options.repeat_fraction,
        backend=options.backend,
        practice_id=practice_id,
        images_from=images_from,
    )
    rubric = asked_before(ws, options) or rubric_asked(ws, options.rubric, chosen.images)
    check_asks_the_same(ws, practice, rubric)
    return ask(
        ws,
        plan,
        rubric,
        shown=chosen.images,
        control_fraction=0.0 if options.pairs else options.control_fraction,
    )


def _check_together(options: PushOptions) -> None:
    """Refuse options that cannot stand beside each other."""
    # a calibration draw speaks for images that nobody has picked, one by one
    picked = options.select == "active" or options.pairs or options.origin != "synthetic"
    if options.purpose == "calibration" and picked:
        raise CurateError(
            "Calibration needs synthetic images drawn at random and rated one by one: drop "
            "--select active, --pairs and --origin."
        )
    if (options.select == "version") != (options.version is not None):
        raise CurateError("--select version and --version go together: give both or neither.")
    if options.practice is not None and options.pairs:
        raise CurateError("A practice asks about one image at a time: drop --pairs or --practice.")


def _pairs(chosen: Selected, images: Sequence[Image], options: PushOptions) -> list[Item]:
    """Pair images of one prompt by lot; one left over meets any other of its prompt."""
    chance = random.Random(f"{options.seed}/pairs")
    of_prompt = _by_prompt(images)
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
