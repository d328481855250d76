"""One film of a table of studies, whatever the table's layout; dates as people write them."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.importing.errors import Refused
from curate.importing.rows import ImageRow

SECTION = re.compile(r"^[ \t]*([A-Z][A-Z /&]{3,40}):", re.MULTILINE)
KEPT_SECTIONS = {"FINDINGS": "findings", "IMPRESSION": "impression", "CONCLUSION": "impression"}
TWO_READINGS = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")


@dataclass(frozen=True, kw_only=True)
class Film:
    """One image of a study."""

    place: str  # FILE:LINE
    line: int
    file: Path
    written: str  # its path as the table writes it
    patient: str
    study: str
    date: dt.date | None  # None where the layout knows an order only
    position: float  # among the patient's studies: days and their fraction, or the order
    view: str  # upper case; "" where the table says none
    area: int  # pixels, where the table says
    findings: str = ""
    impression: str = ""
    progression: str = ""
    language: str = "en"
    labels: Mapping[str, float] = field(default_factory=dict)
    split: str | None = None
    sex: str = ""
    modality: str = ""

    @property
    def text(self) -> str:
        """Return what the film shows, in the report's words."""
        return " ".join((self.impression or self.findings).split())

    def image_row(self, line: int, split: str, layout: str) -> ImageRow:
        """Return the row by which its image is imported."""
        present = sorted(name for name, value in self.labels.items() if value == 1)
        return ImageRow(
            line=line,
            path=self.written,
            file=self.file,
            modality=self.modality,
            text=self.text,
            label=present[0] if len(present) == 1 else None,
            patient=self.patient,
            split=split,
            source=layout,
            licence=None,
            record={},
            conditions={},
        )

    def study_row(self, image_id: object) -> dict[str, Any]:
        """Return what the workspace keeps of what the image is of."""
        kept = ("patient", "study", "position", "view", "language", "findings", "impression")
        return {
            **{name: getattr(self, name) for name in (*kept, "progression", "place")},
            "image_id": image_id,
            "study_date": None if self.date is None else self.date.isoformat(),
            "labels": dict(self.labels),
        }


def parse_date(written: str, form: str | None) -> dt.date:
    """Return the date; raises Refused for none, and for one that could be read in two ways."""
    if not written:
        raise Refused("no date")
    forms = [form] if form else ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d %B %Y", "%d %b %Y"]
    for one in forms:
        try:
            return dt.datetime.strptime(written, one).date()  # noqa: DTZ007 (a date has no zone)
        except ValueError:
            continue
    if form is None and (found := TWO_READINGS.fullmatch(written)):
        first, second, year = (int(part) for part in found.groups())
        if first != second and max(first, second) <= 12:
            raise Refused(f"date {written} is ambiguous: give --date-format %d/%m/%Y or %m/%d/%Y")
        day, month = (first, second) if first > 12 or first == second else (second, first)
        if second > 12:
            month, day = first, second
        try:
            return dt.date(year, month, day)
        except ValueError:
            pass
    raise Refused(f"date {written!r} cannot be read" + (f" as {form}" if form else ""))


def parse_time(written: str) -> float:
    """Return a time of day as a fraction of it; midnight where there is none. Raises Refused.

    DICOM's and MIMIC's HHMMSS.ffffff, of which a spreadsheet drops the leading zeros, or HH:MM.
    """
    if not written:
        return 0.0
    parts = written.split(":")
    if len(parts) == 1:
        whole, _, rest = written.partition(".")
        padded = whole.zfill(6)
        parts = [padded[:-4], padded[-4:-2], padded[-2:] + (f".{rest}" if rest else "")]
    try:
        hours, minutes, seconds = (float(part) for part in [*parts, "0"][:3])
    except ValueError as error:
        raise Refused(f"time {written!r} cannot be read") from error
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 61):
        raise Refused(f"time {written!r} cannot be read")
    return (hours * 3600 + minutes * 60 + seconds) / 86400


def sections_of(report: str) -> dict[str, str]:
    """Return {"findings", "impression"} of a report; one without headings is all findings.

    What stands under COMPARISON, INDICATION, TECHNIQUE or HISTORY is no finding.
    """
    marks = list(SECTION.finditer(report))
    if not any(mark.group(1).strip() in KEPT_SECTIONS for mark in marks):
        return {"findings": "" if marks else report.strip(), "impression": ""}
    found = {"findings": "", "impression": ""}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = KEPT_SECTIONS.get(mark.group(1).strip())
        if name is not None and not found[name]:
            found[name] = report[mark.end() : following.start() if following else None].strip()
    return found
