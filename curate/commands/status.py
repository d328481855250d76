"""`curate status`."""

from pathlib import Path

from curate.commands.shared import Json, Workspace, tell


def status(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Show what the workspace holds and how far the last run is.

    Example: curate status --json
    """
    from curate.status import read_status
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = read_status(ws)
    tell(as_json, found.to_json(), found.lines())
