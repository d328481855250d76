"""Ratings from and to a file in MINIM's columns: image_path,rating,modality,expert_level,prompt.

More columns may follow; the ones below are written too, so that a file read back says the same:
who rated, when, on which criterion and for what purpose, and whether the rater was simulated.
"""

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from annotation.errors import AnnotationError

MINIM_COLUMNS = ("image_path", "rating", "modality", "expert_level", "prompt")
OUR_COLUMNS = ("rater", "simulated", "criterion", "purpose", "campaign", "rated_at")
NEEDED_COLUMNS = ("image_path", "rating")
# A spreadsheet would run such a text; behind an apostrophe it is shown as it is.
_FORMULA, _DEFUSED = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")
_TRUE = {"true": True, "false": False, "": False}


@dataclass(frozen=True, kw_only=True)
class RatingLine:
    """One line of the file. What a file without our columns does not tell is empty."""

    image_path: str  # as written
    rating: int
    modality: str = ""
    expert_level: int = 3  # 1 = trainee .. 3 = specialist
    prompt: str = ""
    rater: str = ""
    simulated: bool = False
    criterion: str = ""
    purpose: str = ""
    campaign: str = ""
    rated_at: dt.datetime | None = None
    line: int = 0  # where it stood in the file; 1 is the header


@dataclass(frozen=True)
class BadLine:
    """A line that could not be taken, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_ratings(path: Path) -> tuple[list[RatingLine], list[BadLine]]:
    """Return the good lines and the bad ones; AnnotationError when the file is no such table."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True, skipinitialspace=True)
    try:
        header = _header(path, next(reader, []))
    except csv.Error as error:
        raise _no_table(path, error) from error
    good: list[RatingLine] = []
    bad: list[BadLine] = []
    while True:
        try:
            if cells := next(reader):
                good.append(_line(header, cells, reader.line_num))
        except StopIteration:
            return good, bad
        except (ValueError, csv.Error) as error:
            bad.append(BadLine(str(path), reader.line_num, str(error)))


def write_ratings(path: Path, lines: Iterable[RatingLine]) -> int:
    """Write the lines, MINIM's columns first; return how many."""
    num_lines = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        # every text in quotes: a leading space is part of it
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(MINIM_COLUMNS + OUR_COLUMNS)
        for line in lines:
            writer.writerow(
                f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
                for cell in _cells(line)
            )
            num_lines += 1
    return num_lines


def _text(path: Path) -> str:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_table(path, error) from error


def _no_table(path: Path, error: Exception) -> AnnotationError:
    return AnnotationError(
        f"{path} is no table of ratings ({error}). Give a CSV in UTF-8 with the columns "
        f"{','.join(MINIM_COLUMNS)}."
    )


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in NEEDED_COLUMNS if name not in header]
    if missing or len(set(header)) < len(header):
        raise AnnotationError(
            f"{path}:1: the header is {','.join(cells) or 'empty'}; needed once each: "
            f"{','.join(NEEDED_COLUMNS)}, and welcome: {','.join(MINIM_COLUMNS[2:] + OUR_COLUMNS)}."
        )
    return header


def _line(header: list[str], cells: list[str], number: int) -> RatingLine:
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} cells under {len(header)} columns; put a text with a comma in quotes"
        )
    plain = [cell[1:] if _DEFUSED.match(cell) else cell for cell in cells]
    row = dict(zip(header, plain, strict=True))
    if not row["image_path"].strip():
        raise ValueError("no image_path")
    simulated = row.get("simulated", "").strip().lower()
    if simulated not in _TRUE:
        raise ValueError(f"simulated is {simulated!r}; needed: true or false")
    return RatingLine(
        image_path=row["image_path"].strip(),
        rating=_whole_number(row, "rating"),
        modality=row.get("modality", ""),
        expert_level=_expert_level(row),
        prompt=row.get("prompt", ""),
        rater=row.get("rater", ""),
        simulated=_TRUE[simulated],
        criterion=row.get("criterion", ""),
        purpose=row.get("purpose", ""),
        campaign=row.get("campaign", ""),
        rated_at=_moment(row.get("rated_at", "").strip()),
        line=number,
    )


def _whole_number(row: Mapping[str, str], column: str) -> int:
    cell = row[column].strip()
    try:
        number = float(cell)  # pandas writes 3 as 3.0 once a cell of the column is empty
    except ValueError:
        number = float("nan")
    if number != number // 1:
        raise ValueError(f"{column} is {cell!r}; needed: a whole number")
    return int(number)


def _expert_level(row: Mapping[str, str]) -> int:
    if not row.get("expert_level", "").strip():
        return 3
    level = _whole_number(row, "expert_level")
    if level not in (1, 2, 3):
        raise ValueError(f"expert_level is {level}; needed: 1 (trainee), 2 or 3 (specialist)")
    return level


def _moment(cell: str) -> dt.datetime | None:
    if not cell:
        return None
    try:
        moment = dt.datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError(f"rated_at is {cell!r}; needed: a time like 2026-01-31T12:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _cells(line: RatingLine) -> list[str | int]:
    return [
        line.image_path,
        line.rating,
        line.modality,
        line.expert_level,
        line.prompt,
        line.rater,
        "true" if line.simulated else "false",
        line.criterion,
        line.purpose,
        line.campaign,
        line.rated_at.isoformat() if line.rated_at else "",
    ]
