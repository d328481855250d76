"""Answers, wherever they come from -> rows.

Rows are append-only: an answer that says the same adds nothing, one that differs is the next
revision, one that was taken back is a revision without a value.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from annotation.base import PREFERENCES, Answer, Unreadable
from curate.errors import unknown_campaign
from curate.workspace import Workspace
from db import queries
from db.models import (
    Campaign,
    Comparison,
    Criterion,
    QuarantinedAnswer,
    Rating,
    SyncMark,
    utc_now,
)
from db.queries.campaigns import AssignmentView
from db.queries.ratings import Verdict


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


def take_answers(
    ws: Workspace,
    campaign: Campaign,
    answers: Sequence[Answer],
    unreadable: Sequence[Unreadable] = (),
    mark: SyncMark | None = None,
) -> Taken:
    """Turn answers into rows; what cannot be taken goes into quarantine.

    In the same commit are `mark`, how far the answers' place has now been read, and what the last
    answers of a campaign settle.
    """
    asked = [task_id for answer in answers if (task_id := _uuid(answer.task_uid))]
    known = queries.campaigns.find_assignments(ws.session, campaign.id, asked)
    latest = queries.ratings.latest_verdicts(ws.session, campaign, list(known))
    criteria = {
        row.name: row for row in queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
    }
    verdicts: list[Verdict] = []
    refused = list(unreadable)
    unchanged = 0
    for answer in answers:
        assignment = known.get(task_id) if (task_id := _uuid(answer.task_uid)) else None
        fault = _fault(answer, assignment, criteria, campaign)
        if assignment is None or fault:
            content = {**asdict(answer), "rated_at": str(answer.rated_at or "")}
            del content["asked_at"]  # of a withdrawal only, which is never refused for its value
            refused.append(Unreadable(source_uid=answer.source_uid, reason=fault, content=content))
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
    quarantined = [_quarantined(campaign, bad) for bad in refused]
    num_kept = queries.ratings.add_answers(ws.session, verdicts, quarantined, mark)
    if verdicts:
        queries.standings.note_disagreement(ws.session, campaign.id)
    ws.session.commit()
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
    value, low, high = answer.value, criterion.min_value, criterion.max_value
    if value is None:
        return ""
    if campaign.kind == "comparison":
        return "" if value in PREFERENCES else f"{value!r}; needed: {', '.join(PREFERENCES)}"
    if not isinstance(value, int) or not low <= value <= high:
        return f"value {value}; needed: {low} to {high}"
    return ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


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


def _quarantined(campaign: Campaign, bad: Unreadable) -> QuarantinedAnswer:
    content = dict(bad.content)
    written = json.dumps(content, sort_keys=True)
    return QuarantinedAnswer(
        campaign_id=campaign.id,
        source_uid=bad.source_uid,
        content_hash=hashlib.sha256(written.encode()).hexdigest(),
        reason=bad.reason,
        content=content,
    )


def find_campaign(ws: Workspace, name: str) -> Campaign:
    """Return the campaign of this name; CurateError with the known ones when there is none."""
    row = queries.campaigns.find_campaign(ws.session, name)
    if row is None:
        known = queries.campaigns.campaigns(ws.session)
        raise unknown_campaign(name, [campaign.name for campaign in known])
    return row
