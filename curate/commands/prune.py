"""`curate archive` and `curate prune`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from curate.commands.shared import Json, Workspace, tell


def archive(
    kind: Annotated[
        Literal["version", "campaign", "run", "release"],
        typer.Argument(help="Kind of thing to archive.", metavar="version|campaign|run|release"),
    ],
    name: Annotated[str, typer.Argument(help="The first digits of its id, or its name.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take it out of the archive.")] = False,
    workspace: Workspace = Path("."),
) -> None:
    """Archive a generator version, campaign, run or release: hidden from lists and `latest`.

    Nothing is deleted; given its id, it works as before. `curate prune` deletes what is archived
    and needed by nothing.

    Example: curate archive version 4f3a91
    """
    from curate.prune import archive as put_aside
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        typer.echo(put_aside(ws, kind, name, undo=undo))


def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be deleted.")
    ] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Delete what is archived and no longer needed, with its files; for the rest, say why not.

    Ratings and the audit trail are never deleted, so a campaign with ratings stays. If killed, the
    same command finishes.

    Example: curate prune --dry-run
    """
    from curate.prune import prune as take_out
    from curate.workspace import open_workspace

    with open_workspace(workspace, alone=not dry_run) as ws:
        pruned = take_out(ws, dry_run=dry_run)
    tell(as_json, pruned.to_json(), pruned.lines())
