"""What passes between curate and whoever rates: plain frozen values, and the backend's protocol."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# kinds of question: how good it is; whether it looks real; which of two pictures is better
SCALE, ORIGIN, PREFERENCE = "scale", "origin", "preference"
ORIGIN_ANSWERS = ("real", "synthetic", "unsure")  # values 1, 2, 3 of a question of origin
PREFERENCES = ("left", "tie", "right")  # answers to a question of preference
SKIPPED = "skipped"  # the reason of a withdrawn answer whose rater passed the task over


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
    kind: str = SCALE


@dataclass(frozen=True, kw_only=True)
class Study:
    """A campaign as a backend sees it: what it is found by again, and the form."""

    uid: str  # lasting and opaque: raters may see what is made of it
    name: str  # the campaign's, which may tell what nobody who rates should know
    instructions: str
    questions: tuple[Question, ...]
    reasons: tuple[str, ...] = ()  # flaws that may be ticked
    # names of the pictures that every task shows, side by side in this order: "left" is the one
    # judged (with "right", both are), "left1" to "left9" are its slices where it is shown by them;
    # other names are what was given for it, such as "prior"
    pictures: tuple[str, ...] = ("left",)
    raters: Mapping[str, str] = field(default_factory=dict)  # name -> how the backend knows them
    images_folder: str = ""  # where the backend itself reads the pictures, if it does

    @property
    def is_of_pairs(self) -> bool:
        """Return whether each task shows two images to be compared."""
        return any(name.startswith("right") for name in self.pictures)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing for one rater to judge; nothing in it tells origin, score or other verdicts."""

    uid: str  # the assignment's id: all that the rater's browser learns of it
    rater: str
    position: int  # 0-based, in this rater's order
    look: int = 0  # how often this rater has been shown the same before: a repeat is 1
    pictures: Mapping[str, str]  # {a name of the study's: opaque address}
    modality: str
    text: str  # what the image was asked to show


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One verdict on one task for one criterion, as a backend reports it."""

    task_uid: str
    rater: str
    criterion: str
    # a grade on the criterion's scale, or one of PREFERENCES; None: no verdict (any more)
    value: int | str | None
    source_uid: str  # the backend's own lasting id of the answer; an edit keeps it
    rated_at: dt.datetime | None = None  # None: now
    asked_at: dt.datetime | None = None  # None withdraws only what was said after this
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
    """What came from one place since its mark, and how far it has now been read."""

    place: str  # a project of the backend
    answers: tuple[Answer, ...]
    unreadable: tuple[Unreadable, ...]
    mark: dt.datetime | None  # by the backend's clock; None: nothing there yet
    record: Mapping[str, Any] = field(default_factory=dict)  # for the audit trail, kept with them
    warnings: tuple[str, ...] = ()


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

    def pull(self, study: Study, marks: Mapping[str, dt.datetime]) -> Iterator[Pulled]:
        """Yield what was said, changed or withdrawn since the marks (all, without marks).

        One at a time, so that the caller can keep each with its mark before the next is read.
        Every task that changed is stated whole: for each question a verdict, or None.
        """
        ...

    def rating_pages(self, study: Study) -> dict[str, str]:
        """Return {rater: the address at which this rater rates}."""
        ...

    def health(self) -> Health:
        """Return whether the place answers as itself, in a few seconds or less."""
        ...
