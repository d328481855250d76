"""Columns of which a table may have any number: `condition:ROLE` and `record:NAME`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curate.errors import CurateError
from curate.importing.table import Columns, header_of

CONDITION = "condition:"  # before the name of a role
FIELD = "record:"  # before the name of one value of a record
ROLE = re.compile(r"[a-z][a-z0-9_-]*")


def with_extra_columns(columns: Columns, path: Path) -> Columns:
    """Return the columns with those of this table's header that name a role or a record's value."""
    extra: dict[str, tuple[str, ...]] = {}
    for written in (name.strip() for name in header_of(path)):
        folded = written.casefold()
        if folded.startswith(CONDITION):
            role = folded.removeprefix(CONDITION).strip()
            if not ROLE.fullmatch(role):
                raise CurateError(
                    f"{path.name}: column {written!r}: a role is letters, digits, - and _."
                )
            extra[CONDITION + role] = (folded,)
        elif folded.startswith(FIELD):
            extra[FIELD + written[len(FIELD) :].strip()] = (folded,)
    return replace(columns, spellings={**columns.spellings, **extra})


def named_conditions(cells: Mapping[str, str], usual: Sequence[str]) -> dict[str, str]:
    """Return {role: what the row's cell says}; `usual` roles have columns of their own name."""
    named = {role: cells.get(role, "") for role in usual}
    named |= {
        name.removeprefix(CONDITION): cell
        for name, cell in cells.items()
        if name.startswith(CONDITION) and cell
    }
    return {role: cell for role, cell in named.items() if cell}
