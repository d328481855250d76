"""Workspaces: made, filled, looked at, mended."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import Json, Workspace, print_json

commands = typer.Typer()


@commands.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder of the workspace.")
    ] = Path("."),
    database_url: Annotated[
        str | None,
        typer.Option(
            help="postgresql://USER@HOST/NAME (password: ~/.pgpass).",
            show_default="SQLite in the folder",
        ),
    ] = None,
    storage_url: Annotated[
        str | None,
        typer.Option(
            help="s3://BUCKET/PREFIX or another fsspec URL.", show_default="files in the folder"
        ),
    ] = None,
) -> None:
    """Make a workspace: one project's rows and files.

    Example: curate init chest
    """
    from curate.workspace import init_workspace

    init_workspace(folder, database_url=database_url, storage_url=storage_url)
    typer.echo(f"Workspace in {folder.absolute()}")


@commands.command("import")
def import_(
    table: Annotated[Path, typer.Argument(help="CSV with the columns path,Text,modality.")],
    workspace: Workspace = Path("."),
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Data folder that paths are in; else the table's own.", show_default=False
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="For rows that name no modality.", show_default=False)
    ] = None,
    new_modality: Annotated[
        list[str] | None,
        typer.Option(help="A modality curate does not know, taken as it is.", show_default=False),
    ] = None,
    window: Annotated[
        str, typer.Option(help="Of DICOM and NIfTI: header, full, or center,width (40,400).")
    ] = "header",
    slice_: Annotated[
        str | None,
        typer.Option(
            "--slice", help="Of a volume: middle, all, or a number from 0.", show_default=False
        ),
    ] = None,
    max_megapixels: Annotated[float, typer.Option(help="Refuse larger images unread.")] = 100.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Import nothing when one row is refused.")
    ] = False,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take rows with an empty Text, for a captioner.")
    ] = False,
    records: Annotated[
        Path | None,
        typer.Option(help="CSV of clinical records, by patient or image.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import real images from a CSV; good rows go in, bad ones are listed by line.

    Optional columns: label, patient, split, source, licence; mask, prior, condition:ROLE name
    condition images, record:NAME a clinical record. Importing twice adds nothing.

    Example: curate import data.csv --strict
    """
    from curate.importing.config import ImportConfig, parse_slice, parse_window
    from curate.importing.real_images import import_table
    from curate.importing.summary import as_lines, to_json
    from curate.workspace import open_workspace

    config = ImportConfig(
        folder=folder,
        modality=modality,
        new_modalities=tuple(new_modality or ()),
        window=parse_window(window),
        slice=None if slice_ is None else parse_slice(slice_),
        max_megapixels=max_megapixels,
        strict=strict,
        unlabelled=unlabelled,
        records=records,
    )
    with open_workspace(workspace) as ws:
        imported = import_table(ws, table, config)
    if as_json:
        print_json(to_json(imported))
    else:
        typer.echo("\n".join(as_lines(imported)))
    if imported.stopped or not (imported.imported or imported.already_there):
        raise typer.Exit(1)


@commands.command()
def status(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Say what is there: counts, and how far the last run is.

    Example: curate status --json
    """
    from curate.status import read_status
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = read_status(ws)
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(found.lines()))


@commands.command()
def doctor(
    workspace: Workspace = Path("."),
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move what does not belong to a quarantine folder."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that rows and files agree: one line for all that is wrong, and exit status 1.

    Example: curate doctor --repair
    """
    from curate import doctor as doctors
    from curate.workspace import open_workspace

    with open_workspace(workspace, alone=repair) as ws:
        report = doctors.examine(ws)
        if repair:
            report = doctors.repair(ws, report)
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo("\n".join(report.lines()))
    raise typer.Exit(0 if report.is_whole else 1)


@commands.command()
def backup(
    file: Annotated[Path, typer.Argument(help="New file for the copy of the database.")],
    workspace: Workspace = Path("."),
) -> None:
    """Copy the database to a file, while other commands may write; files/ needs no such copy.

    Example: curate backup chest-monday.db
    """
    from curate.backup import backup as copy

    typer.echo(f"{copy(workspace, file):,} bytes in {file}. Back with: curate restore {file}")


@commands.command()
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
        typer.echo(f"What was there before is in {moved}")
