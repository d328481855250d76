"""Images -> a campaign of blind assignments; answers, wherever they come from -> rating rows.

A campaign is made whole or not at all and never grows (one that a file brought does). Ratings are
append-only: an answer that says the same adds nothing, one that differs is the next revision.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from annotation.base import Answer, RaterProfile, Unreadable
from annotation.config import SimulatedRaterConfig, default_raters
from annotation.simulated import Eyes, SimulatedRater
from curate.errors import CurateError
from curate.stored_images import batches
from curate.workspace import Workspace
from db import queries, queries_rating
from db.models import (
    Assignment,
    Campaign,
    Criterion,
    Image,
    QuarantinedAnswer,
    Rater,
    Rating,
    utc_now,
)
from db.queries import RatingView
from db.queries_rating import AssignmentView

IMAGES_A_COMMIT = 64  # a killed simulation loses at most this many images' answers


@dataclass(frozen=True)
class Taken:
    """What became of a batch of answers."""

    new: int = 0
    revised: int = 0
    unchanged: int = 0
    quarantined: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def simulated_raters(count: int) -> list[RaterProfile]:
    """Return that many simulated raters, each with habits of its own."""
    return [SimulatedRater(config).profile() for config in default_raters(count)]


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
) -> Campaign:
    """Return the campaign of this name, made first when it is new.

    Every image goes to `overlap` of the raters, with equal loads; every control to all of them;
    `repeat_fraction` of a rater's images come a second time. Each rater's order is drawn from
    `seed`, so nothing in it tells one image from another. Raises CurateError when the name stands
    for another plan.
    """
    _check_plan(images, raters, overlap, repeat_fraction)
    plan = {
        "images": [str(image.id) for image in images],
        "controls": [str(image.id) for image in controls],
        "raters": sorted(rater.name for rater in raters),
        "purpose": purpose,
        "selection_method": selection_method,
        "inclusion_probability": inclusion_probability,
        "repeat_fraction": repeat_fraction,
        "overlap": overlap,
        "seed": seed,
        "backend": backend,
    }
    plan_hash = _hash_of(plan)
    known = queries_rating.find_campaign(ws.session, name)
    if known is not None:
        if known.config.get("plan_sha256") != plan_hash:
            raise CurateError(
                f"Campaign {name!r} exists with other images, raters or settings. "
                "Give the new campaign another name."
            )
        return known
    campaign = _new_campaign(ws, name, raters, seed, overlap, backend, {"plan_sha256": plan_hash})
    items = _items_by_rater(images, controls, raters, overlap, seed, purpose)
    rows = _get_or_add_raters(ws, raters)
    assignments = [
        Assignment(
            campaign_id=campaign.id,
            rater_id=rows[rater].id,
            image_id=image_id,
            position=position,
            purpose=item_purpose,
            selection_method=selection_method if item_purpose == purpose else item_purpose,
            inclusion_probability=inclusion_probability if item_purpose == purpose else 1.0,
        )
        for rater, own in items.items()
        for position, (image_id, item_purpose) in enumerate(
            _blind_order(own, repeat_fraction, random.Random(f"{seed}/order/{rater}"))
        )
    ]
    return queries_rating.add_campaign(ws.session, campaign, assignments)


def _check_plan(
    images: Sequence[Image], raters: Sequence[RaterProfile], overlap: int, repeat_fraction: float
) -> None:
    if not images:
        raise CurateError(
            "No image to rate: every one is in a campaign already, or there is none. "
            "Make more with `curate generate`."
        )
    if len({rater.name for rater in raters}) < len(raters):
        raise CurateError("Two raters have the same name. Give each one a name of their own.")
    if not 1 <= overlap <= len(raters):
        raise CurateError(
            f"{overlap} raters an image, but the campaign has {len(raters)}. "
            "Ask for fewer with --overlap, or for more raters."
        )
    if not 0 <= repeat_fraction <= 1:
        raise CurateError(f"{repeat_fraction} of the images repeated; needed: 0 to 1.")


def _new_campaign(
    ws: Workspace,
    name: str,
    raters: Sequence[RaterProfile],
    seed: int,
    overlap: int,
    backend: str,
    config: dict[str, Any],
) -> Campaign:
    simulated = {rater.simulated for rater in raters}
    if len(simulated) != 1:
        raise CurateError(
            f"Campaign {name!r} mixes people and simulated raters, and its ratings could not be "
            "told apart. Make one campaign of each."
        )
    rubric, _ = queries.default_rubric(ws.session)
    return Campaign(
        name=name,
        rubric_id=rubric.id,
        seed=seed,
        overlap=overlap,
        simulated=simulated.pop(),
        backend=backend,
        config=config,
    )


def _get_or_add_raters(ws: Workspace, raters: Sequence[RaterProfile]) -> dict[str, Rater]:
    return {
        rater.name: queries_rating.get_or_add_rater(
            ws.session,
            name=rater.name,
            expert_level=rater.expert_level,
            simulated=rater.simulated,
            config=dict(rater.config),
        )
        for rater in raters
    }


def _items_by_rater(
    images: Sequence[Image],
    controls: Sequence[Image],
    raters: Sequence[RaterProfile],
    overlap: int,
    seed: int,
    purpose: str,
) -> dict[str, list[tuple[UUID, str]]]:
    """Deal the images to the raters with the shortest piles; ties by lot."""
    chance = random.Random(f"{seed}/deal")
    items: dict[str, list[tuple[UUID, str]]] = {rater.name: [] for rater in raters}
    shuffled = chance.sample(list(images), len(images))
    for image in shuffled:
        by_load = sorted(items, key=lambda rater: (len(items[rater]), chance.random()))
        for rater in by_load[:overlap]:
            items[rater].append((image.id, purpose))
    for pile in items.values():
        pile.extend((control.id, "control") for control in controls)
    return items


def _blind_order(
    items: Sequence[tuple[UUID, str]], repeat_fraction: float, chance: random.Random
) -> list[tuple[UUID, str]]:
    """Shuffle one rater's items and the repeats drawn from them; the later look is the repeat."""
    repeats = chance.sample(list(items), round(repeat_fraction * len(items)))
    order = list(items) + repeats
    chance.shuffle(order)
    seen: set[UUID] = set()
    result = []
    for image_id, purpose in order:
        result.append((image_id, "repeat" if image_id in seen else purpose))
        seen.add(image_id)
    return result


def simulate_campaign(
    ws: Workspace, campaign: Campaign, *, eyes: Eyes, advance: Callable[[int], None]
) -> Taken:
    """Let the campaign's simulated raters answer what they have not answered yet.

    Each looks through `eyes` with the habits in its row. Answers are kept in batches, so that a
    stopped simulation goes on where it stood and ends with the same ratings. `advance(n)` is told
    of every n assignments answered. Raises CurateError when the raters are people.
    """
    raters = _simulated_raters_of(ws, campaign)
    (criterion,) = queries_rating.criteria(ws.session, campaign.rubric_id)
    looks = _looks(queries_rating.assignments(ws.session, campaign.id))
    waiting = queries_rating.assignments(ws.session, campaign.id, unanswered_for=criterion.id)
    by_image = [list(views) for _, views in groupby(waiting, key=lambda view: view.image_id)]
    taken = Taken()
    for start in range(0, len(by_image), IMAGES_A_COMMIT):
        batch = by_image[start : start + IMAGES_A_COMMIT]
        truth = _truth(ws, eyes, [views[0] for views in batch])
        answers = [
            _simulated_answer(view, raters, truth[view.image_id], eyes, criterion, looks, campaign)
            for views in batch
            for view in views
        ]
        taken += take_answers(ws, campaign, answers)
        advance(len(answers))
    return taken


def _simulated_raters_of(ws: Workspace, campaign: Campaign) -> dict[str, SimulatedRater]:
    if not campaign.simulated:
        raise CurateError(
            f"Campaign {campaign.name!r} asks people; simulated answers do not belong in it. "
            "Make one with `curate rate simulate`."
        )
    return {
        rater.name: SimulatedRater(SimulatedRaterConfig.from_json(rater.config))
        for rater in queries_rating.raters_of(ws.session, campaign.id)
    }


def _looks(assignments: Sequence[AssignmentView]) -> dict[UUID, int]:
    """Number each rater's looks at each image: 0, 1, ... in order of position."""
    so_far: dict[tuple[str, UUID], int] = defaultdict(int)
    looks = {}
    for view in sorted(assignments, key=lambda view: view.position):
        looks[view.id] = so_far[view.rater, view.image_id]
        so_far[view.rater, view.image_id] += 1
    return looks


def _truth(ws: Workspace, eyes: Eyes, views: Sequence[AssignmentView]) -> dict[UUID, float]:
    truth: dict[UUID, float] = {}
    files = [view.file_sha256 for view in views]
    for positions, images_B3HW in batches(ws.store, files, IMAGES_A_COMMIT):
        shown = [views[position] for position in positions]
        values_B = eyes.truth(
            images_B3HW, [view.modality for view in shown], [view.label for view in shown]
        )
        truth.update(zip([view.image_id for view in shown], values_B.tolist(), strict=True))
    return truth


def _simulated_answer(
    view: AssignmentView,
    raters: dict[str, SimulatedRater],
    truth: float,
    eyes: Eyes,
    criterion: Criterion,
    looks: dict[UUID, int],
    campaign: Campaign,
) -> Answer:
    occasion = f"{campaign.name}/{view.file_sha256}/{looks[view.id]}"
    (value,) = raters[view.rater].rate(
        [truth], eyes.thresholds, [occasion], min_value=criterion.min_value
    )
    return Answer(
        task_uid=str(view.id),
        rater=view.rater,
        criterion=criterion.name,
        value=value,
        source_uid=f"simulated/{view.id}",
    )


def take_answers(
    ws: Workspace,
    campaign: Campaign,
    answers: Sequence[Answer],
    unreadable: Sequence[Unreadable] = (),
) -> Taken:
    """Turn answers into rating rows, in one commit; what cannot be taken goes into quarantine."""
    asked = [task_id for answer in answers if (task_id := _uuid(answer.task_uid))]
    known = queries_rating.find_assignments(ws.session, campaign.id, asked)
    latest = queries_rating.latest_ratings(ws.session, list(known))
    criteria = {row.name: row for row in queries_rating.criteria(ws.session, campaign.rubric_id)}
    ratings: list[Rating] = []
    quarantined = [_quarantine(campaign, bad) for bad in unreadable]
    unchanged = 0
    for answer in answers:
        assignment = known.get(task_id) if (task_id := _uuid(answer.task_uid)) else None
        fault = _fault(answer, assignment, criteria)
        if assignment is None or fault:
            quarantined.append(_quarantine(campaign, _refused(answer, fault)))
            continue
        criterion = criteria[answer.criterion]
        key = (assignment.id, criterion.id)
        before = latest.get(key)
        if before is not None and _says_the_same(before, answer):
            unchanged += 1
            continue
        latest[key] = _rating(answer, key[0], criterion, before.revision + 1 if before else 1)
        ratings.append(latest[key])
    queries_rating.add_answers(ws.session, ratings, quarantined)
    num_revised = sum(rating.revision > 1 for rating in ratings)
    return Taken(len(ratings) - num_revised, num_revised, unchanged, len(quarantined))


def _fault(
    answer: Answer, assignment: AssignmentView | None, criteria: dict[str, Criterion]
) -> str:
    """Return why the answer cannot be taken; empty when it can."""
    if assignment is None:
        return "no such assignment in this campaign"
    if assignment.rater != answer.rater:
        return f"answered by {answer.rater!r}, assigned to {assignment.rater!r}"
    criterion = criteria.get(answer.criterion)
    if criterion is None:
        return f"no criterion {answer.criterion!r}; known: {', '.join(sorted(criteria))}"
    low, high = criterion.min_value, criterion.max_value
    if answer.value is not None and not low <= answer.value <= high:
        return f"value {answer.value}; needed: {low} to {high}"
    return ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _refused(answer: Answer, fault: str) -> Unreadable:
    content = {**asdict(answer), "rated_at": str(answer.rated_at or "")}
    return Unreadable(source_uid=answer.source_uid, reason=fault, content=content)


def _says_the_same(rating: Rating, answer: Answer) -> bool:
    said = (rating.value, tuple(rating.reasons), rating.comment)
    return said == (answer.value, answer.reasons, answer.comment)


def _rating(answer: Answer, assignment_id: UUID, criterion: Criterion, revision: int) -> Rating:
    return Rating(
        assignment_id=assignment_id,
        criterion_id=criterion.id,
        scale_min=criterion.min_value,
        scale_max=criterion.max_value,
        value=answer.value,
        revision=revision,
        lead_time_s=answer.lead_time_s,
        reasons=list(answer.reasons),
        comment=answer.comment,
        source_uid=answer.source_uid,
        rated_at=answer.rated_at or utc_now(),
    )


def _quarantine(campaign: Campaign, bad: Unreadable) -> QuarantinedAnswer:
    content = dict(bad.content)
    return QuarantinedAnswer(
        campaign_id=campaign.id,
        source_uid=bad.source_uid,
        content_hash=_hash_of(content),
        reason=bad.reason,
        content=content,
    )


def unknown_campaign(name: str, known: Sequence[str]) -> CurateError:
    """Return the error for a campaign that is not there."""
    return CurateError(
        f"No campaign {name!r}. Known: {', '.join(sorted(known)) or 'none'}. "
        "Make one with `curate rate simulate`, or fetch one with `curate rate import`."
    )


def goodness(view: RatingView) -> int:
    """Return the value with the better end up, on the same scale."""
    if view.polarity == "higher":
        return view.value
    return view.min_value + view.max_value - view.value


def _hash_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
