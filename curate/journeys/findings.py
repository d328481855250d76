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
NO_NEW = re.compile(r"\bno (evidence of )?(new|worsening|increasing|enlarging)\b")
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
def vocabulary() -> tuple[tuple[str, bool, re.Pattern[str], re.Pattern[str] | None], ...]:
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
            for one in _in_clause(sentence[start:end], sentence):
                before = found.get((one.finding, one.side))
                if before is None or before.state != "present" or one.state == "present":
                    found[one.finding, one.side] = one
            start = end
    sided = {finding for finding, side in found if side and found[finding, side].state == "present"}
    return {key: one for key, one in found.items() if key[1] or key[0] not in sided}


def _in_clause(clause: str, sentence: str) -> Iterator[Statement]:
    """Yield what a clause says; a change may be named elsewhere in its sentence."""
    taken: list[tuple[int, int]] = []
    for finding, sided, names, absences in vocabulary():
        for mark in absences.finditer(clause) if absences else ():
            taken.append(mark.span())
            for side in _sides(clause, *mark.span()) if sided else (None,):
                yield Statement(finding, side, "absent")
        for mark in names.finditer(clause):
            if any(low < mark.end() and mark.start() < high for low, high in taken):
                continue
            taken.append(mark.span())
            if finding == "no finding":
                yield Statement(finding, None, "present")
                continue
            before = " ".join(WORD.findall(clause[: mark.start()])[-BEFORE:])
            after = " ".join(WORD.findall(clause[mark.end() :])[:AFTER])
            state, change = _context(before, mark.group(), after)
            for side in _sides(clause, *mark.span()) if sided else (None,):
                yield Statement(finding, side, state, change)


def _context(before: str, name: str, after: str) -> tuple[str, str | None]:
    """Return state and change by the words around a name."""
    around = f"{before} {name} | {after}"
    change = next(
        (one for one, words in OF_CHANGE.items() if re.search(rf"\b({words})\b", around)), None
    )
    if STILL_THERE.search(around):
        return "present", "unchanged"
    if UNSURE_BEFORE.search(before) or UNSURE_AFTER.search(after):
        return "uncertain", None if change == "resolved" else change
    partly = re.search(r"\b(partial|partially|incomplete|near|nearly|almost)\b", around)
    if change == "resolved" and partly:
        return "present", "better"
    if NOT_BEFORE.search(before) or NOT_AFTER.search(after):
        gone = change == "resolved"
        return "absent", "resolved" if gone else None
    return "present", change


def _sides(clause: str, start: int, end: int) -> tuple[str | None, ...]:
    """Return the sides that a clause names near a finding."""
    near = " ".join(WORD.findall(clause[:start])[-6:] + WORD.findall(clause[start : end + 32]))
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


def progression(before: Statements, after: Statements) -> tuple[str, bool]:
    """Return what changed from one report to the next in words, and whether nothing did."""
    sentences = []
    findings = [name for name, *_ in vocabulary() if name != "no finding"]
    for finding in findings:
        earlier = {side: one for (name, side), one in before.items() if name == finding}
        later = {side: one for (name, side), one in after.items() if name == finding}
        for side in sorted({*earlier, *later}, key=str):
            was, now = (
                found.get(side) or found.get(None) if side else found.get(None)
                for found in (earlier, later)
            )
            if side is None and any(other for other in (*earlier, *later)):
                continue  # said of a side in one of the two
            sentences += _sentence(was, now)
    return " ".join(sentences) or "No change.", not sentences


def _sentence(was: Statement | None, now: Statement | None) -> list[str]:
    """Return the sentence on one finding; none where it is as before, or not spoken of."""
    here = was is not None and was.state == "present"
    one = now or was
    assert one is not None  # one of the two speaks of it
    name = one.name
    if now is None:
        return []
    if now.state == "present" and not here:
        return [f"New {name}."]
    if here and now.state == "absent":
        return [f"Resolved {name}."]
    if here and now.state == "present" and now.change in ("worse", "better"):
        return [f"{'Worse' if now.change == 'worse' else 'Improved'} {name}."]
    return []
