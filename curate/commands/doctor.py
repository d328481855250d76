"""`curate doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell


def doctor(
    workspace: Workspace = Path("."),
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move files that do not belong to a quarantine folder."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that rows and files agree; if not, print one line for each problem and exit with 1.

    Example: curate doctor --repair
    """
    from curate import doctor as doctors
    from curate.workspace import open_workspace

    with open_workspace(workspace, alone=repair) as ws:
        report = doctors.examine(ws)
        if repair:
            report = doctors.repair(ws, report)
    tell(as_json, report.to_json(), report.lines())
    raise typer.Exit(0 if report.is_whole else 1)
