"""What passes between curate and whoever rates: plain frozen values, and the backend's protocol."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class RaterProfile:
    """A person who rates, or a simulated rater."""

    name: str
    expert_level: int = 3  # 1 = trainee .. 3 = specialist
    simulated: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)  # a simulated rater's habits


@dataclass(frozen=True, kw_only=True)
class Question:
    """One criterion of the form that a rater fills in."""

    name: str
    text: str
    min_value: int
    max_value: int
    wording: Mapping[str, str] = field(default_factory=dict)  # "3" -> "fit for training"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A campaign as a backend sees it: a neutral title and the form."""

    name: str
    instructions: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing for one rater to judge; nothing in it tells origin, score or other verdicts."""

    uid: str  # the assignment's id: all that the rater's browser learns of it
    rater: str
    position: int  # 0-based, in this rater's order
    image_url: str  # opaque
    modality: str
    text: str  # what the image was asked to show


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One verdict on one task for one criterion, as a backend reports it."""

    task_uid: str
    rater: str
    criterion: str
    value: int | None  # None: the rater withdrew the answer
    source_uid: str  # the backend's own lasting id of the answer; an edit keeps it
    rated_at: dt.datetime | None = None  # None: now
    lead_time_s: float | None = None  # as the browser claims
    reasons: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Something a backend sent that is no answer; it goes into quarantine, never away."""

    source_uid: str
    reason: str
    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What came since the marks, and how far each place has now been read."""

    answers: tuple[Answer, ...]
    unreadable: tuple[Unreadable, ...]
    marks: Mapping[str, dt.datetime]  # place (a project of the backend) -> newest change seen


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether a backend answers, and what to do when it does not."""

    is_up: bool
    message: str


class RatingBackend(Protocol):
    """A place where people rate. Pulling is the truth; pushing and pulling twice change nothing."""

    def push(self, study: Study, tasks: Sequence[Task]) -> int:
        """Show the tasks to their raters in order of position; return how many were new."""
        ...

    def pull(self, study: Study, marks: Mapping[str, dt.datetime]) -> Pulled:
        """Return every verdict made, changed or withdrawn since the marks (all, without marks)."""
        ...

    def raters(self) -> list[RaterProfile]:
        """Return who can log in."""
        ...

    def health(self) -> Health:
        """Return whether the place answers as itself, in a second or less."""
        ...
