"""Practices as a lead reads them: what each asks, who has passed, and how sure that is."""

from dataclasses import asdict, dataclass
from typing import Any

from curate.evaluation.intervals import wilson_interval
from curate.rating.practised import PracticeStanding, num_needed, standings
from curate.workspace import Workspace
from db import queries
from db.models import Practice, Rubric


@dataclass(frozen=True)
class PracticeMade:
    """What a practice is."""

    practice: str
    rubric: str
    version: int  # of the rubric
    images: int
    spoiled: int  # of these
    pass_size: int
    needed: int  # right in a pass

    @classmethod
    def of(cls, ws: Workspace, practice: Practice) -> "PracticeMade":
        """Return it from its rows."""
        rubric = ws.session.get_one(Rubric, practice.rubric_id)
        items = [one.item for one in queries.practices.images_of(ws.session, practice.id)]
        return cls(
            practice=practice.name,
            rubric=rubric.name,
            version=rubric.version,
            images=len(items),
            spoiled=sum(item.spoiled is not None for item in items),
            pass_size=practice.pass_size,
            needed=num_needed(practice.bar, practice.pass_size),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return them for a person to read."""
        return [
            f"practice {self.practice}: {self.images} images, {self.spoiled} of them spoiled, by "
            f"version {self.version} of the rubric {self.rubric!r}",
            f"  a pass shows {self.pass_size}; who has {self.needed} of them right is shown the "
            f"campaign: `curate rate push --practice {self.practice}`",
        ]


@dataclass(frozen=True)
class PracticeRow:
    """One rater in one practice."""

    practice: str
    standing: PracticeStanding

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"practice": self.practice, **self.standing.to_json()}

    def share(self) -> str:
        """Return the share of the last whole pass that was right, with Wilson's interval."""
        own = self.standing
        if not own.passes:
            return "-"
        found = wilson_interval(own.passes[-1], own.pass_size)
        ends = f"[{100 * found.low:.0f}, {100 * found.high:.0f}]"
        return f"{100 * found.value:.0f} % {ends} of {own.pass_size}"

    def shares(self) -> str:
        """Return how many answers to each question were right, of those judged."""
        found = self.standing.by_criterion.items()
        return ", ".join(f"{name} {right}/{num}" for name, (right, num) in found) or "-"


def practice_rows(ws: Workspace) -> list[PracticeRow]:
    """Return all who practise or have, by practice and name."""
    return [
        PracticeRow(practice.name, one)
        for practice in queries.practices.practices(ws.session)
        for one in standings(ws, practice)
    ]
