"""How a table's bytes are lines and its lines are cells: told from the file, and only for certain.

Spreadsheets write UTF-16, Windows-1252, semicolons, tabs and `sep=` lines.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.importing.workbook import SUFFIX

WORKBOOK = "workbook"  # no encoding: its cells are cells
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
WINDOWS_SIGNS = (
    "\u20ac\u2026\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u00a0§«»°±²³·"  # beside letters
)
ODD_WORD = re.compile(r"\w*[^\x00-\x7f]\w*")
LONGEST_RUN = 2  # letters that are not ASCII in a row; Greek or Cyrillic has whole words


@dataclass(frozen=True)
class Form:
    """A table's encoding and separator, and what to tell of them."""

    encoding: str
    separator: str
    header_line: int  # from 1; what stands before it is no record
    notes: tuple[str, ...]

    @property
    def separator_name(self) -> str:
        """Return the separator in words."""
        return SEPARATORS.get(self.separator, repr(self.separator))


def form_of(path: Path) -> Form:
    """Look at a table; CurateError when it cannot be read."""
    if path.suffix.lower() == SUFFIX and path.is_file():
        return Form(WORKBOOK, ",", 1, ())
    try:
        encoding, notes = _encoding(path)
        with path.open(encoding=encoding, errors="replace") as file:
            header_line, line = next(
                ((number, line) for number, line in enumerate(file, 1) if line.strip()), (1, "")
            )
    except OSError as error:
        raise CurateError(
            f"{path} cannot be read: {error.strerror}. Give the path of a CSV table."
        ) from error
    said = line.strip("\r\n")
    if said.casefold().startswith("sep=") and len(said) == 5:
        notes.append(f"columns are separated as {said!r} says")
        return Form(encoding, said[4], header_line + 1, tuple(notes))
    bare = "".join(said.split('"')[::2])  # what stands outside quotes; a comma comes first
    separator = next((mark for mark in SEPARATORS if mark in bare), ",")
    if separator != ",":
        notes.append(f"columns are separated by {SEPARATORS[separator]}s")
    return Form(encoding, separator, 1, tuple(notes))


def _encoding(path: Path) -> tuple[str, list[str]]:
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16", ["the table is UTF-16"]
        file.seek(0)
        first = _windows_line(file)
    if first is None:
        return "utf-8-sig", []  # drops the byte-order mark that spreadsheets write
    number, line = first
    [shown, *_] = ODD_WORD.findall(line)
    return "cp1252", [f"the table is not UTF-8, read as Windows-1252: {shown!r} in line {number}"]


def _windows_line(lines: Iterable[bytes]) -> tuple[int, str] | None:
    """Return the first line that is Windows-1252; None where any is UTF-8, or something else."""
    found: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        if line.isascii():
            continue
        try:
            line.decode()
            return None
        except UnicodeDecodeError:
            text = line.decode("cp1252", errors="replace")
        odd = [char for char in text if not char.isascii()]
        runs = "".join(" " if char.isascii() else char for char in text).split(" ")
        are_western = all(char.isalpha() or char in WINDOWS_SIGNS for char in odd)
        if not are_western or max(map(len, runs)) > LONGEST_RUN:
            return None
        found = found or (number, text)
    return found
