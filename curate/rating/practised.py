"""Who has practised, how far each is, and who may be shown a campaign's images.

A practice goes in passes: so many of its images each, in an order of the rater's own, until one
pass meets the bar. What comes next follows from the answers that are there, so nothing else is
kept, and a process that is killed loses nothing and doubles nothing.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from annotation.base import ORIGIN, ORIGIN_ANSWERS
from curate.errors import CurateError
from curate.workspace import Workspace
from db import queries
from db.models import Criterion, Practice, PracticeAnswer, PracticeItem, Rater, Rubric
from db.queries.practices import PracticeImage


@dataclass(frozen=True, kw_only=True)
class PracticeStanding:
    """How far one rater is in one practice."""

    rater: str
    simulated: bool
    passes: tuple[int, ...]  # images that were right, of every whole pass
    pass_size: int
    needed: int  # images of a pass that must be right
    num_begun: int  # images answered of the pass at hand
    num_right: int  # of these, right
    # {criterion: (right, judged)} in the last whole pass, before there is one in what was answered
    by_criterion: Mapping[str, tuple[int, int]]

    @property
    def has_passed(self) -> bool:
        """Return whether a pass has met the bar: nothing is asked after it."""
        return bool(self.passes) and self.passes[-1] >= self.needed

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "has_passed": self.has_passed, "accuracy": self.accuracy}

    @property
    def accuracy(self) -> float | None:
        """Return the share of the last whole pass that was right; None: there is none yet."""
        return self.passes[-1] / self.pass_size if self.passes else None

    def line(self) -> str:
        """Return it for a person to read."""
        last = self.passes[-1] if self.passes else 0
        share = f"{last} of {self.pass_size} right ({100 * last / self.pass_size:.0f} %)"
        num = len(self.passes)
        if self.has_passed:
            return f"passed with {share} in pass {num}"
        begun = f"{self.num_begun} of {self.pass_size} in pass {num + 1}"
        if not num:
            return begun if self.num_begun else "not begun"
        return f"{begun}; in pass {num} {share}, needed {self.needed}"


def num_needed(bar: float, pass_size: int) -> int:
    """Return how many images of a pass must be right."""
    return math.ceil(bar * pass_size - 1e-9)  # 0.8 of 10 is 8, whatever floats make of it


def image_asked(
    practice: Practice, images: Sequence[PracticeImage], rater: str, number: int
) -> PracticeImage:
    """Return what this rater is shown as the `number`-th image, from 0.

    A pass takes the next images of the practice's order, round and round, and shuffles them anew
    for each rater: so two passes differ as long as there are images, and each has as many of every
    kind as the practice has.
    """
    which, place = divmod(number, practice.pass_size)
    first = which * practice.pass_size
    own = [images[(first + step) % len(images)] for step in range(practice.pass_size)]
    random.Random(f"{practice.seed}/{rater}/{which}").shuffle(own)
    return own[place]


def judged(item: PracticeItem, verdicts: Mapping[str, int]) -> dict[str, bool]:
    """Return {criterion: right} for what is known and was answered: a blank is not wrong."""
    return {
        name: low <= verdicts[name] <= high
        for name, (low, high) in item.known.items()
        if name in verdicts
    }


def is_right(item: PracticeItem, verdicts: Mapping[str, int]) -> bool:
    """Return whether all that is known of the image was met; not where nothing was answered."""
    found = judged(item, verdicts)
    return bool(found) and all(found.values())


def standing(
    practice: Practice,
    images: Sequence[PracticeImage],
    rater: Rater,
    answers: Sequence[PracticeAnswer],
) -> PracticeStanding:
    """Return how far a rater is, by all of their answers in order."""
    items, size = {one.item.id: one.item for one in images}, practice.pass_size
    needed = num_needed(practice.bar, size)
    passes: list[int] = []
    end = 0  # of the whole passes that count
    while end + size <= len(answers) and not (passes and passes[-1] >= needed):
        own = answers[end : end + size]
        passes.append(sum(is_right(items[said.item_id], said.verdicts) for said in own))
        end += size
    begun = [] if passes and passes[-1] >= needed else answers[end:]
    right: Counter[str] = Counter()
    num: Counter[str] = Counter()
    for said in answers[end - size : end] if passes else begun:
        for name, is_met in judged(items[said.item_id], said.verdicts).items():
            right[name] += is_met
            num[name] += 1
    return PracticeStanding(
        rater=rater.name,
        simulated=rater.simulated,
        passes=tuple(passes),
        pass_size=size,
        needed=needed,
        num_begun=len(begun),
        num_right=sum(is_right(items[said.item_id], said.verdicts) for said in begun),
        by_criterion={name: (right[name], num[name]) for name in sorted(num)},
    )


def standings(
    ws: Workspace, practice: Practice, among: set[UUID] | None = None
) -> list[PracticeStanding]:
    """Return how far all are who practise (of `among`, rater ids), by name."""
    images = queries.practices.images_of(ws.session, practice.id)
    said: dict[UUID, list[PracticeAnswer]] = defaultdict(list)
    for answer in queries.practices.answers_of(ws.session, practice.id):
        said[answer.rater_id].append(answer)
    ids = queries.practices.rater_ids_of(ws.session, practice.id) if among is None else among
    raters = [row for row in queries.campaigns.raters(ws.session) if row.id in ids]
    return [standing(practice, images, row, said[row.id]) for row in raters]


def standings_of_campaign(ws: Workspace, campaign_id: UUID) -> dict[str, PracticeStanding] | None:
    """Return how far each rater of a campaign is in what comes before it; None: nothing does."""
    found = queries.practices.practice_of(ws.session, campaign_id)
    if found is None:
        return None
    ids = {row.id for row in queries.campaigns.raters_of(ws.session, campaign_id)}
    return {one.rater: one for one in standings(ws, found[0], ids)}


def record(
    ws: Workspace,
    practice: Practice,
    images: Sequence[PracticeImage],
    rater: Rater,
    number: int,
    verdicts: Mapping[str, int],
) -> PracticeStanding:
    """Keep a rater's answer to the image at hand, and return how far the rater is then.

    An answer that is there already stays, as does what was passed: sent twice, nothing is doubled.
    Raises CurateError for an answer that is none, or to an image that was not shown yet.
    """
    answers = queries.practices.answers_of(ws.session, practice.id, rater.id)
    before = standing(practice, images, rater, answers)
    if number < len(answers) or before.has_passed:
        return before
    if number > len(answers):
        raise CurateError(f"Image {number + 1} comes after image {len(answers) + 1}.")
    criteria = {row.name: row for row in criteria_asked(ws, practice)}
    for name, value in verdicts.items():
        row = criteria.get(name)
        if row is None or not row.min_value <= value <= row.max_value:
            raise CurateError(f"{value} is no answer to {name!r}.")
    new = PracticeAnswer(
        practice_id=practice.id,
        rater_id=rater.id,
        number=number,
        item_id=image_asked(practice, images, rater.name, number).item.id,
        verdicts=dict(verdicts),
    )
    queries.practices.add_answer(ws.session, new)
    answers = queries.practices.answers_of(ws.session, practice.id, rater.id)
    return standing(practice, images, rater, answers)


def criteria_asked(ws: Workspace, practice: Practice) -> Sequence[Criterion]:
    """Return what a practice asks, in the order of its form."""
    return queries.campaigns.criteria_of(ws.session, practice.rubric_id)


def worded(criterion: Criterion, value: int) -> str:
    """Return an answer as its form shows it."""
    if criterion.kind == ORIGIN:
        return ORIGIN_ANSWERS[value - criterion.min_value]
    return f"{value} {criterion.wording.get(str(value), '')}".strip()


def passed_before(ws: Workspace, practice: Practice, rater: str) -> str:
    """Say in which older version of the practice's rubric a rater has passed; empty: in none."""
    asked = ws.session.get_one(Rubric, practice.rubric_id)
    for other in reversed(queries.practices.practices(ws.session)):
        rubric = ws.session.get_one(Rubric, other.rubric_id)
        if rubric.name != asked.name or rubric.version >= asked.version:
            continue
        if any(one.has_passed for one in standings(ws, other) if one.rater == rater):
            return (
                f"{rater} passed {other.name!r} in version {rubric.version} of the rubric "
                f"{rubric.name!r}; this is version {asked.version}, and is practised anew"
            )
    return ""


def practice_lines(ws: Workspace) -> list[str]:
    """Return a line a rater who practises or has, for an overview."""
    lines = []
    for practice in queries.practices.practices(ws.session):
        for one in standings(ws, practice):
            simulated = " (simulated)" if one.simulated else ""
            lines.append(f"practice {practice.name}: {one.rater}{simulated} {one.line()}")
    return lines
