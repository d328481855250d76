"""A CSV table as people write them: the good rows, and every bad one with its line and reason.

Each physical line is read on its own terms, so that one stray quote costs one row and not the rest
of the file.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from annotation.csv_file import as_meant
from curate.errors import CurateError
from curate.importing.table_form import WORKBOOK, Form, form_of
from curate.importing.workbook import workbook_rows

SAYS_NOTHING = frozenset({"nan", "none", "n/a", "#n/a", "na", "null", "-", "--"})
LONGEST_RECORD = 50  # lines that one quoted text may span
IsModality = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its cells by column, and the line where it begins (the header is line 1)."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Remark:
    """Something to say about a line of a file: why it was refused, or what was done to it."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def remark_on(file: str, remarks: list[Remark]) -> Callable[[int, str], None]:
    """Return a function that notes a line and what to say of it."""
    return lambda line, text: remarks.append(Remark(file, line, text))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's rows, the refused lines, and notes on what was repaired or left aside."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    refused: tuple[Remark, ...]
    notes: tuple[Remark, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns a kind of table has: our name -> the spellings it goes by, lower case."""

    spellings: Mapping[str, tuple[str, ...]]
    needed: tuple[str, ...]
    free_text: str  # the column that may hold commas without quotes
    in_words: tuple[str, ...] = ()  # columns in which nan, None, N/A, null or - stand for nothing


class _NotATable(ValueError):
    """One record cannot be read; the message is the reason."""


def read_table(path: Path, columns: Columns, is_modality: IsModality) -> Table:
    """Read a table in the form that `table_form` finds.

    A row with more commas than columns is repaired where only one reading is possible: the extra
    commas belong to the free text, since it is the last column or a known modality follows it.
    In columns of words nan, None, N/A, null and - are read as empty, with a note.
    Raises CurateError when the file cannot be read or its header lacks a needed column.
    """
    refused: list[Remark] = []
    notes: list[Remark] = []
    rows = tuple(stream_rows(path, columns, is_modality, refuse=refused.append, note=notes.append))
    line, header, _ = _header(path, form_of(path))
    return Table(
        columns=tuple(_places(path, line, header, columns)),
        rows=rows,
        refused=tuple(refused),
        notes=tuple(notes),
    )


def stream_rows(
    path: Path,
    columns: Columns,
    is_modality: IsModality,
    *,
    refuse: Callable[[Remark], None],
    note: Callable[[Remark], None],
) -> Iterator[Row]:
    """Yield the rows that `read_table` returns, one at a time: a table of any length fits.

    `refuse` is told of the lines that cannot be read, `note` of what was repaired or left aside.
    """
    form = form_of(path)
    for told in form.notes:
        note(Remark(path.name, 1, told))
    line, header, records = _header(path, form)
    places = _places(path, line, header, columns)
    for index, name in enumerate(header):
        if name.strip() and index not in places.values():
            note(Remark(path.name, 1, f"column {name!r} is left aside"))
    reader = _Reader(path.name, len(header), places, columns, is_modality, note, form)
    for line, record in records:
        try:
            yield reader.row(line, record)
        except _NotATable as reason:
            refuse(Remark(path.name, line, str(reason)))


def header_of(path: Path) -> list[str]:
    """Return the names of a table's columns as they are written."""
    return _header(path, form_of(path))[1]


def _header(
    path: Path, form: Form
) -> tuple[int, list[str], "Iterator[tuple[int, list[str] | _NotATable]]"]:
    """Return the header's line, its cells, and the records that follow."""
    records: Iterator[tuple[int, list[str] | _NotATable]]
    if form.encoding == WORKBOOK:
        records = ((number, list(cells)) for number, cells in workbook_rows(path))
    else:
        records = _records(_lines(path, form), form.separator)
    line, header = next(records, (1, []))
    if isinstance(header, _NotATable):
        raise CurateError(f"{path.name}, line {line}: {header}. Fix the header.")
    return line, header, records


class _Reader:
    """Cells of one record by column name; tells what it repaired."""

    def __init__(
        self,
        file: str,
        width: int,
        places: Mapping[str, int],
        columns: Columns,
        is_modality: IsModality,
        note: Callable[[Remark], None],
        form: Form,
    ) -> None:
        self.file, self.width, self.places = file, width, places
        self.free_text, self.is_modality, self.note = columns.free_text, is_modality, note
        self.form, self.in_words = form, columns.in_words
        self._emptied: set[str] = set()

    def row(self, line: int, record: "list[str] | _NotATable") -> Row:
        if isinstance(record, _NotATable):
            raise record
        is_longer = len(record) > self.width
        if len(record) < self.width or (is_longer and self.free_text not in self.places):
            raise _NotATable(f"{len(record)} columns where the header has {self.width}")
        if is_longer:
            record = self._with_commas_in_the_text(record)
            text = record[self.places[self.free_text]]
            self.note(
                Remark(
                    self.file,
                    line,
                    f"unquoted {self.form.separator_name}: {self.free_text} is read as {text!r}",
                )
            )
        # as curate and spreadsheets write texts that look like formulas
        cells = {name: as_meant(record[place].strip()) for name, place in self.places.items()}
        for name in self.in_words:  # a word that stands for nothing, noted once a column
            cell = cells.get(name, "")
            if cell.casefold() in SAYS_NOTHING:
                cells[name] = ""
                if name not in self._emptied:
                    told = f"{name} {cell!r} is read as empty, here and below"
                    self.note(Remark(self.file, line, told))
                self._emptied.add(name)
        return Row(line=line, cells=cells)

    def _with_commas_in_the_text(self, record: list[str]) -> list[str]:
        place, extra = self.places[self.free_text], len(record) - self.width
        if not self._only_the_text_can_be_longer(record, place, extra):
            raise _NotATable(
                f"{len(record)} columns where the header has {self.width}: put quotes around a "
                f"{self.free_text} that has {self.form.separator_name}s"
            )
        text = f"{self.form.separator} ".join(
            cell.strip() for cell in record[place : place + extra + 1]
        )
        return [*record[:place], text, *record[place + extra + 1 :]]

    def _only_the_text_can_be_longer(self, record: list[str], place: int, extra: int) -> bool:
        modality = self.places.get("modality")
        checked = {self.places.get("path"), modality}  # a comma in one of these is found out later
        if not checked.issuperset(range(place)):
            return False
        if place == self.width - 1:
            return True
        if modality != place + 1:
            return False
        fits = [shift for shift in range(extra + 1) if self.is_modality(record[modality + shift])]
        return fits == [extra]


def _lines(path: Path, form: Form) -> Iterator[tuple[int, str | _NotATable]]:
    """Yield (line number from 1, its text without the line end); a reason where it is no UTF-8."""
    errors = "surrogateescape" if form.encoding == "utf-8-sig" else "replace"
    with path.open(encoding=form.encoding, errors=errors) as text:
        for number, line in enumerate(text, 1):
            line = "" if number < form.header_line else line.rstrip("\n")
            stray = next((char for char in line if "\udc80" <= char <= "\udcff"), None)
            if line.isascii() or stray is None:
                yield number, line
            else:
                byte = f"0x{ord(stray) - 0xDC00:02x}"
                yield number, _NotATable(f"byte {byte} is not UTF-8: save the table as UTF-8")


def _records(
    numbered: Iterator[tuple[int, str | _NotATable]], separator: str
) -> Iterator[tuple[int, list[str] | _NotATable]]:
    """Yield (first line, cells or the reason why there are none); blank lines are skipped."""
    ahead = deque(islice(numbered, LONGEST_RECORD))
    while ahead:
        number, line = ahead[0]
        num_lines = 1
        if not isinstance(line, str) or line.strip():
            record, num_lines = _record_at(list(ahead), separator)
            yield number, record
        for _ in range(num_lines):
            ahead.popleft()
        ahead.extend(islice(numbered, num_lines))


def _record_at(
    lines: Sequence[tuple[int, str | _NotATable]], separator: str
) -> tuple[list[str] | _NotATable, int]:
    """Return the record that `lines` begin with and how many of them it takes."""
    text = ""
    for num_lines, (_, line) in enumerate(lines, 1):
        if isinstance(line, _NotATable):
            return (line, 1) if num_lines == 1 else (_unclosed_quote(), 1)
        text += line + "\n"
        try:
            cells = csv.reader(
                [text], strict=True, delimiter=separator, skipinitialspace=separator != "\t"
            )
            return next(cells), num_lines
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                return _NotATable(
                    f"not readable as CSV, is a quote in the wrong place? ({error})"
                ), 1
    return _unclosed_quote(), 1


def _unclosed_quote() -> _NotATable:
    return _NotATable("a quote is opened and not closed")


def _places(path: Path, line: int, header: Sequence[str], columns: Columns) -> dict[str, int]:
    """Return our column name -> its place in the header."""
    names = [name.strip().casefold() for name in header]
    places: dict[str, int] = {}
    for ours, spellings in columns.spellings.items():
        found = [index for index, name in enumerate(names) if name in spellings]
        if len(found) > 1:
            both = ", ".join(repr(header[index]) for index in found)
            raise CurateError(
                f"{path.name}, line {line}: columns {both} all mean {ours}. Keep one of them."
            )
        if found:
            places[ours] = found[0]
    missing = [name for name in columns.needed if name not in places]
    if missing:
        raise CurateError(
            f"{path.name}, line {line}: the header is {', '.join(header) or 'empty'!r}, but "
            f"{' and '.join(missing)} must be among its columns. Begin the file with a line like "
            f"{','.join(columns.spellings)!r}."
        )
    return places
