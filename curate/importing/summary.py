"""What an import tells the person, or the program, that asked for it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from curate.importing.real_images import Imported
from curate.importing.table import Remark

MOST_LINES = 50  # of one kind; `--json` has them all


def as_lines(imported: Imported) -> list[str]:
    """Return notes, refused lines as FILE:LINE: reason, and the numbers last."""
    num_lines = len({remark.line for remark in imported.refused})
    lines = [*_shown("note", imported.notes), *_shown("refused", imported.refused)]
    if imported.stopped:
        return [*lines, f"Nothing imported: {num_lines} lines are refused and --strict is given."]
    would = "nothing is written (--dry-run): images imported would be"
    filled_in = f" ({imported.filled_in} filled in)" if imported.filled_in else ""
    return [
        *lines,
        f"{would if imported.dry_run else 'images imported '} {imported.imported}",
        f"already there    {imported.already_there}{filled_in}",
        *([f"files restored   {imported.restored}"] if imported.restored else []),
        f"lines refused    {num_lines}",
    ]


def to_json(imported: Imported) -> dict[str, Any]:
    """Return all of it as plain values."""
    values = {name: value for name, value in asdict(imported).items() if name != "pixels"}
    return values if imported.dry_run else {n: v for n, v in values.items() if n != "dry_run"}


def _shown(kind: str, remarks: Sequence[Remark]) -> list[str]:
    more = len(remarks) - MOST_LINES
    rest = [f"... and {more} more (--json lists all)"] if more > 0 else []
    return [f"{kind}: {remark}" for remark in remarks[:MOST_LINES]] + rest
