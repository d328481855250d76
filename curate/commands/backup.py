"""`curate backup` and `curate restore`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Workspace


def backup(
    file: Annotated[Path, typer.Argument(help="New file for the copy of the database.")],
    workspace: Workspace = Path("."),
) -> None:
    """Copy the database to a file, while other commands may write; files/ needs no such copy.

    Example: curate backup chest-monday.db
    """
    from curate.backup import backup as copy

    typer.echo(f"{copy(workspace, file):,} bytes in {file}. To restore it: curate restore {file}")


def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `curate backup` made.")],
    workspace: Workspace = Path("."),
) -> None:
    """Put a copy of the database in its place; the one that was there is moved, not deleted.

    Example: curate restore chest-monday.db
    """
    from curate.backup import restore as put_back

    moved = put_back(workspace, file)
    typer.echo(f"Restored from {file}. Next: curate doctor")
    if moved:
        typer.echo(f"The previous database is in {moved}")
