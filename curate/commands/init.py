"""`curate init`."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder of the workspace.")
    ] = Path("."),
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Database URL, as postgresql://USER@HOST/NAME (password in ~/.pgpass).",
            show_default="SQLite in the folder",
        ),
    ] = None,
    storage_url: Annotated[
        str | None,
        typer.Option(
            help="Where to store files: s3://BUCKET/PREFIX or another fsspec URL.",
            show_default="files in the folder",
        ),
    ] = None,
) -> None:
    """Make a workspace: one project's rows and files.

    Example: curate init chest
    """
    from curate.workspace import init_workspace

    init_workspace(folder, database_url=database_url, storage_url=storage_url)
    typer.echo(f"Workspace in {folder.absolute()}")
