"""Films to pairs: one image a study, studies in time order, each with the one before it.

What is lost on the way is counted, step by step, and named.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from curate.importing.rows import SPLITS
from curate.importing.table import Remark
from curate.journeys.config import JourneyImport
from curate.journeys.films import Film
from db.hashing import json_hash

TEST, VALIDATION = 0.1, 0.1  # shares of patients where nobody else split them


@dataclass(frozen=True)
class Step:
    """One step of the funnel: what is left, what was lost, and the first row that was."""

    name: str
    left: int
    lost: int
    first: str | None


@dataclass
class Funnel:
    """What becomes of a table's rows, step by step."""

    steps: list[Step] = field(default_factory=list)
    refused: list[Remark] = field(default_factory=list)

    def note(self, name: str, left: int, lost: Sequence[Remark]) -> None:
        """Add a step and name what it lost."""
        first = str(lost[0]) if lost else None
        self.steps.append(Step(name, left, len(lost), first))
        self.refused.extend(lost)

    def keep(
        self, name: str, films: Iterable[Film], why_not: Callable[[Film], str | None]
    ) -> list[Film]:
        """Return the films that nothing speaks against."""
        kept, lost = [], []
        for film in films:
            reason = why_not(film)
            if reason is None:
                kept.append(film)
            else:
                lost.append(remark(film, reason))
        self.note(name, len(kept), lost)
        return kept


@dataclass(frozen=True)
class FilmPair:
    """A prior film, and a later one of the same patient."""

    prior: Film
    new: Film
    days: int | None
    split: str


def remark(film: Film, text: str) -> Remark:
    """Return something to say of a film's row."""
    return Remark(film.place.rpartition(":")[0], film.line, text)


def chosen_films(films: Sequence[Film], config: JourneyImport, funnel: Funnel) -> list[Film]:
    """Return at most one film a study, of the wanted views, whose time and patient are certain."""
    views, shown = config.wanted_views, " or ".join(sorted(config.wanted_views))

    def other_view(film: Film) -> str | None:
        said = f"view {film.view}, not {shown}" if film.view else f"no view; wanted is {shown}"
        return None if film.view in views or "ANY" in views else said

    sexes, splits = defaultdict(set), defaultdict(set)
    for film in films:
        sexes[film.patient].update({film.sex} & {"M", "F"})
        splits[film.patient].update({film.split} - {None})

    def two_patients(film: Film) -> str | None:
        if len(sexes[film.patient]) > 1:
            return f"two patients under one id: {film.patient} is both M and F"
        if config.split_by == "table" and len(splits[film.patient]) > 1:
            both = " and ".join(sorted(map(str, splits[film.patient])))
            return f"patient {film.patient} is in two splits: {both}"
        if config.split_by == "table" and (film.split or "train").casefold() not in (
            *SPLITS,
            "validate",
        ):
            return f"split {film.split!r}: give train, val or test"
        return None

    left = funnel.keep("of the wanted view", films, other_view)
    left = funnel.keep("of one patient an id", left, two_patients)
    best: dict[tuple[str, str], Film] = {}
    for film in sorted(left, key=lambda film: (-film.area, film.written)):
        best.setdefault((film.patient, film.study), film)

    def second(film: Film) -> str | None:
        taken = best[film.patient, film.study]
        return None if taken is film else f"another image of its study is taken: {taken.written}"

    left = funnel.keep("one a study", left, second)
    left = funnel.keep(
        "with a report",
        left,
        lambda film: None if film.text or film.progression else "no impression and no findings",
    )
    at = defaultdict(set)
    for film in left:
        at[film.patient, film.position].add(film.study)

    def same_time(film: Film) -> str | None:
        others = sorted(at[film.patient, film.position] - {film.study})
        return f"taken at the same time as study {others[0]}" if others else None

    return funnel.keep("at a time of its own", left, same_time)


def pairs_of(films: Sequence[Film], config: JourneyImport, funnel: Funnel) -> list[FilmPair]:
    """Return each film with the one before it, by date; never by a study's id or a row's place."""
    ordered = sorted(films, key=lambda film: (film.patient, film.position))
    following = [
        pair
        for _, of_patient in groupby(ordered, key=lambda film: film.patient)
        for pair in pairwise(of_patient)
    ]
    singles = len({film.patient for film in films}) - len({new.patient for _, new in following})
    funnel.steps.append(Step("follow another of the patient", len(following), 0, None))
    if singles:
        funnel.steps.append(Step("(patients with one study)", singles, 0, None))
    kept, lost = [], []
    for prior, new in following:
        days = None if new.date is None or prior.date is None else (new.date - prior.date).days
        if days is not None and not 1 <= days <= config.max_days:
            lost.append(
                remark(new, f"{days} days after its prior; taken are 1 to {config.max_days}")
            )
        elif new.view != prior.view and not config.cross_view:
            lost.append(remark(new, f"view {new.view} after {prior.view}: see --cross-view"))
        else:
            kept.append(FilmPair(prior, new, days, split_of_patient(new, config)))
    funnel.note(f"1 to {config.max_days} days later", len(kept), lost)
    patients = defaultdict(set)
    for pair in kept:
        patients[pair.split].add(pair.new.patient)
    if any(patients[one] & patients[two] for one, two in (("train", "val"), ("train", "test"))):
        raise ValueError("a patient is in two splits")
    return kept


def split_of_patient(film: Film, config: JourneyImport) -> str:
    """Return the split of a film's patient: the table's or the published one, else by hash."""
    share = int(json_hash(["journeys", film.patient])[:8], 16) / 16**8
    named = (film.split or "").casefold()
    if config.split_by != "hash" and named:
        return "val" if named == "validate" else SPLITS[named]
    if config.split_by == "published" and config.layout == "mimic-cxr":
        return "val" if share < VALIDATION else "train"
    if share < TEST:
        return "test"
    return "val" if share < TEST + VALIDATION else "train"
