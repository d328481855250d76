"""Answers, wherever they come from -> rows; simulated raters' answers to a campaign.

Rows are append-only: an answer that says the same adds nothing, one that differs is the next
revision, one that was taken back is a revision without a value.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from annotation.base import PREFERENCES, Answer, RaterProfile, Unreadable
from annotation.config import FIRST_EYES, SimulatedRaterConfig, default_raters
from annotation.simulated import Eyes, SimulatedRater
from curate.errors import CurateError
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.samples.stored import batches
from curate.workspace import Workspace
from db import queries
from db.models import (
    Campaign,
    Comparison,
    Criterion,
    Image,
    QuarantinedAnswer,
    Rater,
    Rating,
    SyncMark,
    utc_now,
)
from db.queries.campaigns import AssignmentView
from db.queries.ratings import RatingView, Verdict

IMAGES_A_COMMIT = 64  # a killed simulation loses at most this many images' answers


@dataclass(frozen=True)
class Taken:
    """What became of a batch of answers."""

    new: int = 0
    revised: int = 0
    unchanged: int = 0
    quarantined: int = 0  # that are new

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def simulated_raters(count: int, eyes: str = FIRST_EYES) -> list[RaterProfile]:
    """Return that many simulated raters with these eyes, each with habits of its own."""
    return [SimulatedRater(config).profile() for config in default_raters(count, eyes=eyes)]


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
    """Return the campaign of this name on the default rubric, made first when it is new.

    Every image goes to `overlap` of the raters, with equal loads; every control to all of them;
    `repeat_fraction` of a rater's images come a second time. Raises CurateError when the name
    stands for another plan.
    """
    plan = CampaignPlan(
        name=name,
        items=tuple(
            Item(
                image_id=image.id,
                purpose=purpose,
                selection_method=selection_method,
                inclusion_probability=inclusion_probability,
            )
            for image in images
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
    rubric, _ = queries.campaigns.default_rubric(ws.session)
    return make_campaign(ws, plan, rubric)


def simulate_campaign(
    ws: Workspace, campaign: Campaign, *, eyes: Eyes, advance: Callable[[int], None]
) -> Taken:
    """Let the campaign's simulated raters answer what they have not answered yet.

    Each looks through `eyes` with the habits in its row. Answers are kept in batches, so that a
    stopped simulation goes on where it stood and ends with the same ratings. `advance(n)` is told
    of every n assignments answered. Raises CurateError when the raters are people, or look through
    other eyes.
    """
    raters = _simulated_raters_of(ws, campaign)
    asked = queries.campaigns.raters_of(ws.session, campaign.id)
    check_same_eyes(f"Campaign {campaign.name!r}", asked, eyes)
    (criterion,) = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    looks = _looks(queries.campaigns.assignments(ws.session, campaign.id))
    waiting = queries.campaigns.assignments(ws.session, campaign.id, unanswered_for=criterion.id)
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


def check_same_eyes(what: str, raters: Iterable[Rater], eyes: Eyes) -> None:
    """Raise CurateError when one of the simulated raters whom `what` asked has other eyes."""
    known = {rater.config.get("eyes", FIRST_EYES) for rater in raters if rater.simulated}
    others = sorted(known - {eyes.identity})
    if others:
        raise CurateError(
            f"{what} was begun with simulated raters whose eyes are {others[0][:12]}; these are "
            f"{eyes.identity[:12]}, which grade otherwise. Go on with a version of curate that has "
            "those eyes, or begin anew under another --name."
        )


def _simulated_raters_of(ws: Workspace, campaign: Campaign) -> dict[str, SimulatedRater]:
    if not campaign.simulated:
        raise CurateError(
            f"Campaign {campaign.name!r} asks people; simulated answers do not belong in it. "
            "Make one with `curate rate simulate`."
        )
    return {
        rater.name: SimulatedRater(SimulatedRaterConfig.from_json(rater.config))
        for rater in queries.campaigns.raters_of(ws.session, campaign.id)
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
    mark: SyncMark | None = None,
) -> Taken:
    """Turn answers into rows, in one commit; what cannot be taken goes into quarantine.

    `mark`, how far the answers' place has now been read, is kept in the same commit.
    """
    asked = [task_id for answer in answers if (task_id := _uuid(answer.task_uid))]
    known = queries.campaigns.find_assignments(ws.session, campaign.id, asked)
    latest = queries.ratings.latest_verdicts(ws.session, campaign, list(known))
    criteria = {
        row.name: row for row in queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    }
    verdicts: list[Verdict] = []
    quarantined = [_quarantine(campaign, bad) for bad in unreadable]
    unchanged = 0
    for answer in answers:
        assignment = known.get(task_id) if (task_id := _uuid(answer.task_uid)) else None
        fault = _fault(answer, assignment, criteria, campaign)
        if assignment is None or fault:
            quarantined.append(_quarantine(campaign, _refused(answer, fault)))
            continue
        criterion = criteria[answer.criterion]
        key = (assignment.id, criterion.id)
        before = latest.get(key)
        if _adds_nothing(before, answer):
            unchanged += 1
            continue
        revision = before.revision + 1 if before else 1
        latest[key] = _verdict(answer, assignment.id, criterion, campaign, revision)
        verdicts.append(latest[key])
    num_kept = queries.ratings.add_answers(ws.session, verdicts, quarantined, mark)
    num_revised = sum(verdict.revision > 1 for verdict in verdicts)
    return Taken(len(verdicts) - num_revised, num_revised, unchanged, num_kept)


def _fault(
    answer: Answer,
    assignment: AssignmentView | None,
    criteria: dict[str, Criterion],
    campaign: Campaign,
) -> str:
    """Return why the answer cannot be taken; empty when it can."""
    if assignment is None:
        return "no such assignment in this campaign"
    if assignment.rater != answer.rater:
        return f"answered by {answer.rater!r}, assigned to {assignment.rater!r}"
    criterion = criteria.get(answer.criterion)
    if criterion is None:
        return f"no criterion {answer.criterion!r}; known: {', '.join(sorted(criteria))}"
    return "" if answer.value is None else _fault_of_value(answer.value, criterion, campaign)


def _fault_of_value(value: int | str, criterion: Criterion, campaign: Campaign) -> str:
    if campaign.kind == "comparison":
        return "" if value in PREFERENCES else f"{value!r}; needed: {', '.join(PREFERENCES)}"
    low, high = criterion.min_value, criterion.max_value
    if not isinstance(value, int) or not low <= value <= high:
        return f"value {value}; needed: {low} to {high}"
    return ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _refused(answer: Answer, fault: str) -> Unreadable:
    content = {**asdict(answer), "rated_at": str(answer.rated_at or "")}
    del content["asked_at"]  # of a withdrawal only, which is never refused for its value
    return Unreadable(source_uid=answer.source_uid, reason=fault, content=content)


def _adds_nothing(before: Verdict | None, answer: Answer) -> bool:
    if before is None:  # nothing to take back; but that a rater passed a task over is kept
        return answer.value is None and not answer.reasons
    if answer.value is None and answer.asked_at and before.rated_at < answer.asked_at:
        return True  # the task is a newer one that shows the same: nothing was taken back
    value = before.preferred if isinstance(before, Comparison) else before.value
    said = (value, tuple(before.reasons), before.comment)
    return said == (answer.value, answer.reasons, answer.comment)


def _verdict(
    answer: Answer, assignment_id: UUID, criterion: Criterion, campaign: Campaign, revision: int
) -> Verdict:
    said: dict[str, Any] = {
        "assignment_id": assignment_id,
        "criterion_id": criterion.id,
        "revision": revision,
        "lead_time_s": answer.lead_time_s,
        "reasons": list(answer.reasons),
        "comment": answer.comment,
        "source_uid": answer.source_uid,
        "rated_at": answer.rated_at or utc_now(),
    }
    if campaign.kind == "comparison":
        return Comparison(**said | {"preferred": answer.value})
    said |= {"scale_min": criterion.min_value, "scale_max": criterion.max_value}
    return Rating(**said | {"value": answer.value})


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


def find_campaign(ws: Workspace, name: str) -> Campaign:
    """Return the campaign of this name; CurateError with the known ones when there is none."""
    row = queries.campaigns.find_campaign(ws.session, name)
    if row is None:
        known = queries.campaigns.campaigns(ws.session)
        raise unknown_campaign(name, [campaign.name for campaign in known])
    return row


def goodness(view: RatingView) -> int:
    """Return the value with the better end up, on the same scale."""
    if view.polarity == "higher":
        return view.value
    return view.min_value + view.max_value - view.value


def _hash_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
