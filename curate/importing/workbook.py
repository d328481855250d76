"""Tables in a workbook (.xlsx): its first sheet, every cell as the text that a CSV would have."""

import datetime as dt
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.importing.errors import Refused, foreign

SUFFIX = ".xlsx"
MOST_BYTES = 2**28  # unpacked: a million rows of twenty cells


def workbook_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number from 1, cells) of the first sheet; empty rows are left out.

    Raises CurateError for what is no workbook, before anything large is unpacked.
    """
    from openpyxl import load_workbook  # most tables need none of it

    try:
        with foreign("not a whole workbook"):
            with zipfile.ZipFile(path) as packed:
                size = sum(part.file_size for part in packed.infolist())
            if size > MOST_BYTES:
                raise Refused(f"it decompresses to {size / 1e6:.0f} MB: save it as CSV")
            book = load_workbook(path, read_only=True, data_only=True)
            rows = enumerate(book.worksheets[0].iter_rows(values_only=True), 1)
        width = 0
        while True:
            with foreign("not a whole workbook"):
                number, cells = next(rows, (0, ()))
            if not number:
                return
            texts = [_text(cell) for cell in cells]
            while texts and not texts[-1] and len(texts) > width:
                texts.pop()
            width = width or len(texts)
            if any(texts):
                yield number, texts + [""] * (width - len(texts))
    except Refused as reason:
        raise CurateError(f"{path.name}: {reason}.") from reason


def _text(cell: Any) -> str:
    """Return a cell as a CSV has it: 61, not 61.0; a day without its midnight."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    return str(cell)
