"""Clinical records: columns `record:*`, a JSON column `record`, or a table of their own.

A record is {name: text or number}, whatever a family reads of it. It is part of what a prompt says.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from curate.errors import CurateError
from curate.importing.errors import Refused
from curate.importing.extra import FIELD
from curate.importing.table import Columns, Remark, header_of, stream_rows

RECORD = "record"
KEYS = {"patient": ("patient", "patient_id"), "image": ("image", "path", "image_path")}
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")  # 007 is a name

Record = dict[str, Any]


@dataclass(frozen=True)
class Records:
    """A table of records by the value of its key column."""

    file: str
    key: str  # "patient" or "image"
    by_key: Mapping[str, Record]

    def of(self, cells: Mapping[str, str]) -> Record:
        """Return the record of a row's patient or image; Refused where there is none."""
        wanted = cells.get(self.key) or ""
        if not wanted:
            raise Refused(f"no {self.key}, by which {self.file} names its records")
        if wanted not in self.by_key:
            raise Refused(f"{self.key} {wanted!r} has no row in {self.file}")
        return self.by_key[wanted]


def read_records(path: Path) -> Records:
    """Read a table with a column patient or image; every other column is a value of the record.

    Raises CurateError for a table without a key, or with a row that cannot be told apart.
    """
    header = [name.strip() for name in header_of(path)]
    keys = {name.casefold(): key for key, names in KEYS.items() for name in names}
    found = [name for name in header if name.casefold() in keys]
    if len(found) != 1:
        raise CurateError(
            f"{path.name} needs one column, patient or image, that says whose each record is; "
            f"it has {', '.join(found) or 'none'}."
        )
    key = found[0]
    columns = Columns(
        spellings={name: (name.casefold(),) for name in header if name},
        needed=(key,),
        free_text=key,
    )
    by_key: dict[str, Record] = {}

    def refuse(remark: Remark) -> NoReturn:
        raise CurateError(f"{remark}.")

    for row in stream_rows(path, columns, lambda _: False, refuse=refuse, note=lambda _: None):
        if row.cells[key] in by_key:
            refuse(Remark(path.name, row.line, f"a second record of {row.cells[key]!r}"))
        by_key[row.cells[key]] = {
            name: value_of(cell) for name, cell in row.cells.items() if cell and name != key
        }
    return Records(path.name, keys[key.casefold()], by_key)


def record_of(cells: Mapping[str, str], records: Records | None) -> Record:
    """Return what a row says of its patient, from all three places; Refused where two disagree."""
    try:
        written = json.loads(cells.get(RECORD) or "{}", parse_constant=_refuse_constant)
    except ValueError as error:
        raise Refused(f"record: {error}") from error
    if not isinstance(written, dict):
        raise Refused('record is not a JSON object such as {"age": 61}')
    parts = [
        records.of(cells) if records is not None else {},
        written,
        {
            name.removeprefix(FIELD): value_of(cell)
            for name, cell in cells.items()
            if name.startswith(FIELD) and cell
        },
    ]
    record: Record = {}
    for part in parts:
        for name, value in part.items():
            if record.setdefault(name, value) != value:
                raise Refused(f"its record says {name} {record[name]!r} and {value!r}")
    return record


def value_of(cell: str) -> str | int | float:
    """Return a number where a cell is written as one, else its text."""
    found = NUMBER.fullmatch(cell)
    if found is None:
        return cell
    return float(cell) if found[2] else int(cell)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a value of JSON")
