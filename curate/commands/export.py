"""`curate export`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.release.config import ExportConfig
from curate.settings import takes_settings


@takes_settings
def export(
    config: ExportConfig,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="New folder for the release.", show_default="releases/ID in the workspace"
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            help="Release to prove; nothing is exported.",
            show_default=False,
            rich_help_panel="Prove a release",
        ),
    ] = None,
    again: Annotated[
        int,
        typer.Option(
            help="Images to make again from their seeds, with --verify.",
            min=0,
            rich_help_panel="Prove a release",
        ),
    ] = 16,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Export a release: vetted images, tables, card and a manifest; --verify proves one.

    --target-precision needs images that were drawn at random and rated for it; without them, or
    when no threshold keeps the promise, nothing is exported.

    Example: curate export --target-precision 0.95 --confidence 0.95 --per-label 200
    """
    if verify is not None:
        from curate.release.prove import verify as prove

        proof = prove(verify, workspace, num_again=again)
        tell(as_json, proof.to_json(), proof.lines())
        raise typer.Exit(0 if proof.ok else 1)
    from curate.progress import progress
    from curate.release.publish import export_release
    from curate.workspace import open_workspace

    if config.real_share is not None:
        config = replace(config, with_real=True)
    with open_workspace(workspace) as ws:
        done = export_release(ws, folder, config, progress)
    tell(as_json, done.to_json(), done.lines())
