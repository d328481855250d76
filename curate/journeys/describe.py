"""`curate journeys describe`: what changed from one study to the next, in words.

From the user's own column, from rules on both reports and labels, or from a language model that an
OpenAI-compatible endpoint serves. What a text was made from is hashed, and asked for once.
"""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from curate.errors import CurateError
from curate.importing.table import Remark
from curate.journeys.config import DescribeConfig
from curate.journeys.endpoint import TEMPLATE, ReportReader, endpoint_of
from curate.journeys.findings import Statements, progression, read_statements, with_labels
from curate.progress import ShowProgress
from curate.workspace import Workspace
from db import queries
from db.hashing import json_hash
from db.models import ImageStudy
from db.queries.journeys import Pair

RULES = "findings by rules, 1"  # a change of what they say is a new number
A_BATCH = 16  # texts that a kill can cost
MOST_WORDS = 60  # of a language model's answer
SAME = r"\b(no|without) (\w+ ){0,2}change|\bunchanged\b|\bstable\b"
DATE = re.compile(r"\b\d{1,4}[/.-]\d{1,2}([/.-]\d{1,4})?\b|\b(19|20)\d\d\b")


@dataclass(frozen=True)
class Described:
    """What became of the pairs."""

    source: str
    num_described: int
    num_unchanged: int
    num_asked: int  # texts that were made now; the rest were there
    without: list[Remark]  # pairs that got no text, and why

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "without": [str(one) for one in self.without]}

    def lines(self) -> list[str]:
        """Return lines for people."""
        more = len(self.without) - 20
        return [
            *(f"no text: {one}" for one in self.without[:20]),
            *([f"... and {more} more (--json lists all)"] if more > 0 else []),
            f"{self.num_described} pairs described by {self.source}, {self.num_asked} of them now; "
            f"{self.num_unchanged} say that nothing changed",
        ]


class NoText(ValueError):
    """Why a pair has no text."""


@dataclass(frozen=True)
class TextSource:
    """Where texts come from, as the options say."""

    config: DescribeConfig
    endpoint: ReportReader | None

    @property
    def details(self) -> dict[str, Any]:
        """Return what is kept beside each text."""
        if self.endpoint is not None:
            return self.endpoint.details
        return {"rules": RULES} if self.config.text == "rules" else {}

    def key(self, pair: Pair) -> str:
        """Return the hash of all that a pair's text is made from."""
        both = [
            [study.findings, study.impression, study.progression, dict(study.labels)]
            for study in (pair.before, pair.after)
        ]
        how = RULES if self.endpoint is None else [TEMPLATE, self.endpoint.model]
        return json_hash([self.config.text, how, both])

    def columns(self, pair: Pair) -> dict[str, Any]:
        """Return a pair's columns. Raises NoText."""
        makers = {"column": self.by_column, "rules": self.by_rules, "api": self.by_model}
        text, unchanged = makers[self.config.text](pair)
        return {
            "text": text,
            "text_source": self.config.text,
            "text_key": self.key(pair),
            "text_details": self.details,
            "unchanged": unchanged,
        }

    def by_column(self, pair: Pair) -> tuple[str, bool]:
        """Return the user's own words, and whether they say that nothing changed."""
        text = " ".join(pair.after.progression.split())
        if not text:
            raise NoText("its column progression is empty")
        return text, _says_no_change(text)

    def by_rules(self, pair: Pair) -> tuple[str, bool]:
        """Return the difference of what rules read in both reports."""
        for study in (pair.before, pair.after):
            if study.language != "en" and not study.labels:
                raise NoText(f"a report in {study.language}: the rules only read English")
        return progression(*(statements_of_study(study) for study in (pair.before, pair.after)))

    def by_model(self, pair: Pair) -> tuple[str, bool]:
        """Return a language model's answer, checked by the rules."""
        assert self.endpoint is not None  # the source is "api"
        reports = [f"{one.impression or one.findings}" for one in (pair.before, pair.after)]
        text = " ".join(self.endpoint.asked(*reports).split())
        known = {name for one in (pair.before, pair.after) for name, _ in statements_of_study(one)}
        invented = {name for name, _ in read_statements(text)} - known - {"no finding"}
        spoken = ", ".join(sorted(invented))
        for holds, reason in (
            (bool(text), "the answer is empty"),
            (len(text.split()) <= MOST_WORDS, f"the answer has more than {MOST_WORDS} words"),
            (not DATE.search(text), "the answer names a date"),
            (not invented, f"the answer names {spoken}, of which no report speaks"),
        ):
            if not holds:
                raise NoText(f"{self.endpoint.model}: {reason}: {text[:80]!r}")
        return text, _says_no_change(text)


def describe_journeys(ws: Workspace, config: DescribeConfig, show: ShowProgress) -> Described:
    """Describe each pair that has no text of this source yet; killed, it goes on from there."""
    pairs = queries.journeys.journeys(ws.session)
    if not pairs:
        raise CurateError("No pairs in this workspace: run `curate journeys import` or `demo`.")
    source = TextSource(config, endpoint_of(config) if config.text == "api" else None)
    without: list[Remark] = []
    asked = 0
    waiting = [p for p in pairs if config.again or p.journey.text_key != source.key(p)]
    with show(len(waiting), "pairs described") as advance:
        for start in range(0, len(waiting), A_BATCH):
            some = waiting[start : start + A_BATCH]
            changes: dict[UUID, dict[str, Any]] = {}
            try:
                for pair in some:
                    try:
                        changes[pair.journey.id] = source.columns(pair)
                        asked += 1
                    except NoText as reason:
                        file, _, line = pair.after.place.rpartition(":")
                        without.append(Remark(file, int(line), str(reason)))
                        changes[pair.journey.id] = {"text": None, "text_key": None}
            finally:
                queries.journeys.update_journeys(ws.session, changes)
            advance(len(some))
    away = source.endpoint is not None and not source.endpoint.is_local
    found = queries.journeys.journeys(ws.session, described=True)
    details = {"source": config.text, "described": len(found), "reports_left": away}
    queries.audit.record_result(ws.session, "journeys describe", {}, details)
    unchanged = sum(bool(pair.journey.unchanged) for pair in found)
    return Described(config.text, len(found), unchanged, asked, without)


def statements_of_study(study: ImageStudy) -> Statements:
    """Return what a study says of findings: its report, corrected by its labels."""
    said = read_statements(f"{study.findings}\n{study.impression}")
    return with_labels(said, study.labels)


def _says_no_change(text: str) -> bool:
    """Say whether a text of what changed says that nothing did."""
    moved = any(
        one.change in ("new", "resolved", "worse", "better")
        for one in read_statements(text).values()
    )
    return not moved and re.search(SAME, text.lower()) is not None
