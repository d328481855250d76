"""`curate report`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell


def report(
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write.", show_default="reports/report.html"),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Write the history of the workspace as one page that opens anywhere, even offline.

    Example: curate report
    """
    from curate.report import write_report
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        path = write_report(ws, out)
    tell(as_json, {"report": str(path)}, [f"Report: {path}"])
