"""What commands have in common: options with one meaning everywhere, and how results are shown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.quiet import QUIET
from curate.settings import ids_of


def _nearest_workspace(folder: Path) -> Path:
    from curate.workspace import nearest_workspace

    return nearest_workspace(folder)


Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder made by `curate init`.",
        show_default="the current folder, or the nearest workspace above it",
        envvar="CURATE_WORKSPACE",
        callback=_nearest_workspace,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Campaign = Annotated[
    str | None,
    typer.Option(
        help="Show this campaign only.",
        show_default="all campaigns",
        autocompletion=ids_of("campaign"),
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be done: no row and no file is written."),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        help="Settings of the version that was made so, where none are named: its id's first "
        "digits.",
        show_default=False,
        autocompletion=ids_of("version"),
    ),
]
Loop = Annotated[
    str | None,
    typer.Option(
        "--loop", help="Run as the next step of this loop's current round.", show_default=False
    ),
]


def tell(as_json: bool, plain: Any, lines: Sequence[str]) -> None:
    """Print a command's result, for a program or a person to read."""
    typer.echo(json.dumps(plain, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


def say(line: str) -> None:
    """Tell a person how far it is; on stderr, so that results can be piped. Not with --quiet."""
    if not QUIET.get():
        typer.echo(line, err=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return columns as wide as their widest cell; numbers to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
