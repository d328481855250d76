"""What a report says of 14 findings, by rules: present or absent, on which side, and the change.

A sentence is cut into clauses; words around a finding's name say what becomes of it, as in NegEx
(Chapman 2001) and ConText (Harkema 2009), with words of change beside those of negation. The names
are data, `findings.toml`.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

VOCABULARY = Path(__file__).parent / "findings.toml"
STATES = ("present", "absent", "uncertain")
CHANGES = ("new", "resolved", "worse", "better", "unchanged")
VERBS = {"worse": "Worse", "better": "Improved"}
BEFORE, AFTER = 9, 8  # words around a finding's name that are read
WORD = re.compile(r"[a-z][a-z'-]*|\d+")
SENTENCE = re.compile(r"(?<=[.;:!?])\s+|\n+|\s+\d+\.\s+")
CLAUSE = re.compile(
    r"\b(?:but|however|although|though|except|while|whereas|apart from|other than)\b|"
    r",\s*(?=(?:and |with )?(?:there|the|a|an|new|now|no|mild|small|large|stable|persistent)\b)|"
    r"\band (?=(?:there|the|new|no|stable|persistent)\b)"
)
NOT_BEFORE = re.compile(
    r"\b(no|without|denies|absent|absence of|negative for|free of|clear of|rather than|"
    r"resolution of|resolved|clearing of|clearance of|no longer( any| a)?|ruled out|removal of|"
    r"not( have| show| demonstrate)?|never|neither|nor)\b"
)
NOT_AFTER = re.compile(
    r"\b(resolved|cleared|absent|disappeared|removed|gone|ruled out|excluded|"
    r"(is|are|was|were) not|no longer|not (seen|identified|present|visible|appreciated)|"
    r"unlikely)\b"
)
UNSURE_BEFORE = re.compile(
    r"\b(possible|possibly|probable|probably|may|might|could|suspected|suspicious for|"
    r"suspicion of|concern(ing)? for|question of|questionable|cannot exclude|can't exclude|"
    r"not exclude|versus|vs|likely|suggest\w*|equivocal|rule out|evaluate for)\b"
)
UNSURE_AFTER = re.compile(
    r"\b(cannot be( entirely)? excluded|not excluded|is possible|is suspected|"
    r"not ruled out|(is|are) questioned|may be present|versus|vs)\b"
)
STILL_THERE = re.compile(r"\bno (significant |interval |substantial |appreciable )*changes?\b")
PARTLY = re.compile(r"\b(partial|partially|incomplete|near|nearly|almost)\b")
OF_CHANGE = {
    "resolved": r"resol(ved|ution)|cleared|clearing|clearance|disappear\w*|no longer|removed|gone",
    "better": r"improv\w+|decreas\w+|smaller|lessened|less|diminish\w*|reduc\w+|regress\w*|"
    r"partial (resolution|clearing)",
    "worse": r"worse\w*|increas\w+|larger|enlarging|progress\w*|grown|more (extensive|prominent)",
    "unchanged": r"unchanged|stable|persist\w*|similar|no (\w+ ){0,2}change|remains?|again|still",
    "new": r"new|newly|developed|development of|interval appearance|has appeared",
}


@dataclass(frozen=True)
class Statement:
    """What a text says of one finding."""

    finding: str
    side: str | None  # "left", "right"; None: it has none, or none is said
    state: str  # one of STATES
    change: str | None = None  # one of CHANGES

    @property
    def name(self) -> str:
        """Return the finding in words: "right pleural effusion"."""
        return f"{self.side} {self.finding}" if self.side else self.finding


Statements = Mapping[tuple[str, str | None], Statement]


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[tuple[str, bool, re.Pattern[str], re.Pattern[str] | None], ...]:
    """Return (finding, whether it has sides, its names, phrases that say it is absent)."""

    def words(patterns: list[str]) -> re.Pattern[str]:
        return re.compile(rf"\b(?:{'|'.join(sorted(patterns, key=len, reverse=True))})\b")

    with VOCABULARY.open("rb") as file:
        entries = tomllib.load(file)
    return tuple(
        (
            name,
            bool(entry.get("sided")),
            words(entry["terms"]),
            words(entry["absent"]) if "absent" in entry else None,
        )
        for name, entry in entries.items()
    )


def read_statements(text: str) -> Statements:
    """Return what a text says, the last word on each finding and side counting.

    A finding that is said of no side in one place and of a side in another is that of the side.
    """
    found: dict[tuple[str, str | None], Statement] = {}
    for sentence in SENTENCE.split(text.lower()):
        start = 0
        for end in [*(mark.start() for mark in CLAUSE.finditer(sentence)), len(sentence)]:
            for one in Clause(sentence[start:end]).statements():
                before = found.get((one.finding, one.side))
                if before is None or before.state != "present" or one.state == "present":
                    found[one.finding, one.side] = one
            start = end
    sided = {finding for finding, side in found if side and found[finding, side].state == "present"}
    return {key: one for key, one in found.items() if key[1] or key[0] not in sided}


@dataclass(frozen=True)
class Clause:
    """A part of a sentence in which words of negation, doubt and change reach a finding's name."""

    text: str

    def statements(self) -> Iterator[Statement]:
        """Yield what is said; the first name that fits a place in the text counts."""
        taken: list[tuple[int, int]] = []
        for finding, sided, names, absences in _vocabulary():
            for mark in absences.finditer(self.text) if absences else ():
                taken.append(mark.span())
                for side in self.sides(*mark.span()) if sided else (None,):
                    yield Statement(finding, side, "absent")
            for mark in names.finditer(self.text):
                if any(low < mark.end() and mark.start() < high for low, high in taken):
                    continue
                taken.append(mark.span())
                state, change = self.context(mark.start(), mark.end())
                if finding == "no finding":
                    state, change = "present", None
                for side in self.sides(*mark.span()) if sided else (None,):
                    yield Statement(finding, side, state, change)

    def context(self, start: int, end: int) -> tuple[str, str | None]:
        """Return state and change by the words around a name at `start` .. `end`."""
        before = " ".join(WORD.findall(self.text[:start])[-BEFORE:])
        after = " ".join(WORD.findall(self.text[end:])[:AFTER])
        around = f"{before} {self.text[start:end]} | {after}"
        change = next(
            (one for one, words in OF_CHANGE.items() if re.search(rf"\b({words})\b", around)), None
        )
        if STILL_THERE.search(around):
            return "present", "unchanged"
        if UNSURE_BEFORE.search(before) or UNSURE_AFTER.search(after):
            return "uncertain", None if change == "resolved" else change
        if change == "resolved" and PARTLY.search(around):
            return "present", "better"
        if NOT_BEFORE.search(before) or NOT_AFTER.search(after):
            return "absent", "resolved" if change == "resolved" else None
        return "present", change

    def sides(self, start: int, end: int) -> tuple[str | None, ...]:
        """Return the sides that are named near a finding; None where none is."""
        words = [*WORD.findall(self.text[:start])[-6:], *WORD.findall(self.text[start : end + 32])]
        near = " ".join(words)
        both = re.search(r"\b(bilateral(ly)?|both|biapical|bibasilar)\b", near)
        named = [
            side
            for side in ("left", "right")
            if both or re.search(rf"\b({side}|{side}-sided|{side[0]})\b", near)
        ]
        return tuple(named) or (None,)


def with_labels(said: Statements, labels: Mapping[str, float]) -> Statements:
    """Return what is said, corrected by a table's labels: 1 present, 0 absent, -1 uncertain."""
    states = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
    found = dict(said)
    for name, value in labels.items():
        finding, state = name.lower(), states[float(value)]
        own = [key for key in found if key[0] == finding]
        agreeing = [key for key in own if found[key].state == state]
        if state != "absent" and agreeing:
            continue  # a side that the text names is more than the label knows
        for key in own:
            found[key] = replace(found[key], state=state, change=None)
        if not own:
            found[finding, None] = Statement(finding, None, state)
    return found


def finding_named(label: str) -> tuple[str, str | None] | None:
    """Return the finding and side that a network's label means; None for what is no finding here.

    "Pleural_Effusion" and "Effusion" are one; "Hernia" is none of the 14, "No Finding" is none.
    """
    words = label.replace("_", " ").lower().strip()
    names = {name for name, *_ in _vocabulary()}
    if words == "no finding":
        return None
    found = [(words, None)] if words in names else list(read_statements(words))
    return found[0] if len(found) == 1 else None


def state_of(said: Statements, finding: str, side: str | None) -> bool | None:
    """Return whether a report has a finding (on a side); None where it leaves that open.

    What a report does not speak of is absent; a report that says nothing at all leaves all open.
    """
    states = {one.state for (name, at), one in said.items() if name == finding and at == side}
    if side is None:
        states = {one.state for (name, _), one in said.items() if name == finding}
    elif not states:
        unsided = {one.state for (name, at), one in said.items() if name == finding and at is None}
        states = {"uncertain"} if "present" in unsided else unsided
    if "present" in states:
        return True
    return None if "uncertain" in states or not said else False


def progression(before: Statements, after: Statements) -> tuple[str, bool]:
    """Return what changed from one report to the next in words, and whether nothing did."""
    sentences = []
    for finding in (name for name, *_ in _vocabulary() if name != "no finding"):
        earlier = {side: one for (name, side), one in before.items() if name == finding}
        later = {side: one for (name, side), one in after.items() if name == finding}
        for side in sorted({*earlier, *later}, key=str):
            was, now = (
                found.get(side) or found.get(None) if side else found.get(None)
                for found in (earlier, later)
            )
            if side is None and any(other for other in (*earlier, *later)):
                continue  # said of a side in one of the two
            here = was is not None and was.state == "present"
            if now is None:
                continue  # not spoken of: nothing is known
            if now.state == "present" and not here:
                sentences.append(f"New {now.name}.")
            elif now.state == "absent" and here:
                sentences.append(f"Resolved {now.name}.")
            elif now.state == "present" and now.change in VERBS:
                sentences.append(f"{VERBS[now.change]} {now.name}.")
    return " ".join(sentences) or "No change.", not sentences
