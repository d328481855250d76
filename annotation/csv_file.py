"""Ratings from and to a file in MINIM's columns: image_path,rating,modality,expert_level,prompt.

More columns may follow; the ones below are written too, so that a file read back says the same:
who rated, when, on which criterion and for what purpose, and whether the rater was simulated.
Where several criteria were asked about, `rating` is the weakest of them, and a column for each,
`criterion:NAME`, has its own; an empty cell was not answered.
"""

import csv
import datetime as dt
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from annotation.base import Answer, Health, Pulled, Study, Task
from annotation.errors import AnnotationError

MINIM_COLUMNS = ("image_path", "rating", "modality", "expert_level", "prompt")
OUR_COLUMNS = ("rater", "simulated", "criterion", "purpose", "campaign", "rated_at")
NEEDED_COLUMNS = ("image_path", "rating")
OF_CRITERION = "criterion:"  # begins the name of a criterion's own column
# A spreadsheet would run such a text; behind an apostrophe it is shown as it is.
_FORMULA, _DEFUSED = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")
_TEXTS = ("modality", "prompt", "rater", "criterion", "purpose", "campaign")  # as they stand
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
    criteria: Mapping[str, int] = field(default_factory=dict)  # of several: each one's grade


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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = io.StringIO(file.read(), newline="")
        reader = csv.reader(text, strict=True, skipinitialspace=True)
        first = next(reader, [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"{path} is not a table of ratings ({error}). Give a CSV in UTF-8 with the columns "
            f"{','.join(MINIM_COLUMNS)}."
        ) from error
    header = [cell.strip().lower() for cell in first]
    if not set(NEEDED_COLUMNS) <= set(header) or len(set(header)) < len(header):
        raise AnnotationError(
            f"{path}:1: the header is {','.join(first) or 'empty'}; needed once each: "
            f"{','.join(NEEDED_COLUMNS)}, and welcome: {','.join(MINIM_COLUMNS[2:] + OUR_COLUMNS)}."
        )
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


def defused(cell: object) -> object:
    """Return a cell that no spreadsheet runs; `as_meant` gives back what it was."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def as_meant(cell: str) -> str:
    """Return a cell without the apostrophe that kept a spreadsheet from running it."""
    return cell[1:] if _DEFUSED.match(cell) else cell


def write_ratings(path: Path, lines: Iterable[RatingLine], criteria: Sequence[str] = ()) -> int:
    """Write the lines, MINIM's columns first, those of `criteria` last; return how many."""
    num_lines = 0
    header = MINIM_COLUMNS + OUR_COLUMNS
    with path.open("w", newline="", encoding="utf-8") as file:
        # every text in quotes: a leading space is part of it
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([*header, *(f"{OF_CRITERION}{name}" for name in criteria)])
        for line in lines:
            plain = {
                **vars(line),
                "simulated": "true" if line.simulated else "false",
                "rated_at": line.rated_at.isoformat() if line.rated_at else "",
            }
            cells = [plain[column] for column in header]
            cells += [line.criteria.get(name, "") for name in criteria]
            writer.writerow(map(defused, cells))
            num_lines += 1
    return num_lines


class CsvBackend:
    """A file as a place where people have rated: the pull reads what it says of the pushed tasks.

    Which task a line answers is not written in it: `lines` are given by task.
    """

    def __init__(self, file: str, lines: Mapping[str, Sequence[RatingLine]]) -> None:
        self._file, self._lines = file, lines
        self._asked: dict[str, set[str]] = {}  # task by study

    def push(self, study: Study, tasks: Sequence[Task]) -> int:
        """Note what was asked; a file that is written shows nothing to anybody."""
        known = self._asked.setdefault(study.uid, set())
        num_known = len(known)
        known.update(task.uid for task in tasks)
        return len(known) - num_known

    def pull(self, study: Study, marks: Mapping[str, dt.datetime]) -> Iterator[Pulled]:
        """Yield all that the file says, in order; a line without a criterion answers the first."""
        asked = self._asked.get(study.uid, set())
        answers = [
            (line.line, uid, line)
            for uid, lines in self._lines.items()
            for line in lines
            if uid in asked
        ]
        yield Pulled(
            place=self._file,
            answers=tuple(
                Answer(
                    task_uid=uid,
                    rater=line.rater,
                    criterion=name or study.questions[0].name,
                    value=value,
                    source_uid=f"{self._file}:{number}",
                    rated_at=line.rated_at,
                )
                for number, uid, line in sorted(answers, key=lambda entry: entry[:2])
                for name, value in (line.criteria or {line.criterion: line.rating}).items()
            ),
            unreadable=(),
            mark=None,
        )

    def rating_pages(self, study: Study) -> dict[str, str]:
        """Return none: it is written already."""
        return {}

    def health(self) -> Health:
        """Return that it was read."""
        return Health(is_up=True, message=f"{self._file} was read")


def _line(header: list[str], cells: list[str], number: int) -> RatingLine:
    """Read one line; ValueError says what of it cannot be taken."""
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} cells under {len(header)} columns; put a text with a comma in quotes"
        )
    row = defaultdict(str, zip(header, map(as_meant, cells), strict=True))
    if not row["image_path"].strip():
        raise ValueError("no image_path")
    simulated = row["simulated"].strip().lower()
    if simulated not in _TRUE:
        raise ValueError(f"simulated is {simulated!r}; needed: true or false")
    level = _whole_number(row, "expert_level") if row["expert_level"].strip() else 3
    if level not in (1, 2, 3):
        raise ValueError(f"expert_level is {level}; needed: 1 (trainee), 2 or 3 (specialist)")
    moment, written = None, row["rated_at"].strip()
    if written:
        try:
            moment = dt.datetime.fromisoformat(written)
        except ValueError:
            raise ValueError(
                f"rated_at is {written!r}; needed: a time like 2026-01-31T12:00Z"
            ) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return RatingLine(
        image_path=row["image_path"].strip(),
        rating=_whole_number(row, "rating"),
        expert_level=level,
        simulated=_TRUE[simulated],
        rated_at=moment,
        line=number,
        criteria={
            column.removeprefix(OF_CRITERION): _whole_number(row, column)
            for column in header
            if column.startswith(OF_CRITERION) and row[column].strip()
        },
        **{name: row[name] for name in _TEXTS},
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
