"""What a push would ask, before anybody is asked: how often, of whom, and about how long."""

from collections import Counter
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from curate.rating.config import PushOptions
from curate.rating.plan import plan_campaign
from curate.workspace import Workspace
from db import queries

SECONDS_A_TASK = 18.0  # assumed where nobody has answered yet


@dataclass(frozen=True)
class TaskTime:
    """How long a person takes for a task: an image with all its questions."""

    seconds: float
    num_answers: int  # the median is of so many; 0: it is assumed

    def hours(self, num_tasks: int) -> str:
        """Say how long so many tasks take, and how that is known."""
        hours = num_tasks * self.seconds / 3600
        time = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
        known = f"the median of {self.num_answers:,} answers" if self.num_answers else "assumed"
        return f"about {time} in all ({self.seconds:.0f} s each, {known})"


@dataclass(frozen=True)
class WouldAsk:
    """The tasks of a campaign that is not there yet, or is there already."""

    campaign: str
    is_there: bool
    tasks: dict[str, int]  # by rater
    num_images: int
    num_questions: int  # of a task
    time: TaskTime
    practice: str = ""  # what each rater passes first, in words

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person would decide by."""
        total, questions = sum(self.tasks.values()), self.num_questions
        asked = f"{questions} question{'' if questions == 1 else 's'} each"
        by_rater = ", ".join(f"{rater} {num}" for rater, num in sorted(self.tasks.items()))
        there = ", which is there: only what Label Studio lacks would be sent" * self.is_there
        return [
            f"campaign {self.campaign}{there}: would ask {len(self.tasks)} raters {total:,} times "
            f"about {self.num_images:,} images ({asked}), {self.time.hours(total)}",
            f"  {by_rater}",
            *([f"  {self.practice}"] if self.practice else []),
        ]


def time_a_task(ws: Workspace) -> TaskTime:
    """Return the median time of people's answers so far, an assumption where there are none."""
    people = {row.id for row in queries.campaigns.campaigns(ws.session) if not row.simulated}
    seconds = {  # an answer to each question of a task has the task's time
        look.assignment_id: look.lead_time_s
        for campaign_id in people
        for look in queries.ratings.looks(ws.session, campaign_id)
        if look.lead_time_s is not None
    }
    return (
        TaskTime(median(seconds.values()), len(seconds)) if seconds else TaskTime(SECONDS_A_TASK, 0)
    )


def would_push(ws: Workspace, options: PushOptions) -> WouldAsk:
    """Plan the campaign in a workspace that takes back what is written, and count."""
    time = time_a_task(ws)
    is_there = queries.campaigns.find_campaign(ws.session, options.name) is not None
    campaign = plan_campaign(ws, options)
    views = queries.campaigns.assignments(ws.session, campaign.id)
    found = queries.practices.practice_of(ws.session, campaign.id)
    return WouldAsk(
        campaign=campaign.name,
        is_there=is_there,
        tasks=dict(Counter(view.rater for view in views)),
        num_images=len({view.image_id for view in views}),
        num_questions=len(queries.campaigns.criteria_of(ws.session, campaign.rubric_id)),
        time=time,
        practice=f"each passes practice {found[0].name!r} first, {found[0].pass_size} images a pass"
        if found
        else "",
    )
