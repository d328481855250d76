"""`curate export`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import DryRun, Json, Workspace, tell
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
            help="Check this release instead of exporting.",
            show_default=False,
            rich_help_panel="Prove a release",
        ),
    ] = None,
    again: Annotated[
        int,
        typer.Option(
            help="With --verify: number of images to make again from their seeds.",
            min=0,
            rich_help_panel="Prove a release",
        ),
    ] = 16,
    dry_run: DryRun = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Export a release: vetted images, tables, a card and a manifest. --verify checks one.

    --target-precision needs images drawn at random and rated for this purpose; without them, or
    if no threshold can keep the promise, nothing is exported.

    Example: curate export --target-precision 0.95 --confidence 0.95 --per-label 200
    """
    if verify is not None:
        from curate.release.prove import verify as prove

        proof = prove(verify, workspace, num_again=again)
        tell(as_json, proof.to_json(), proof.lines())
        raise typer.Exit(0 if proof.ok else 1)
    from curate.production.work import at_work
    from curate.progress import progress
    from curate.release.publish import export_release, would_export
    from curate.workspace import dry_workspace, open_workspace

    if config.real_share is not None:
        config = replace(config, with_real=True)
    if dry_run:
        with dry_workspace(workspace) as ws:
            done = would_export(ws, folder, config, progress)
        tell(as_json, done.to_json(), done.lines())
        return
    with open_workspace(workspace) as ws, at_work(ws.folder, "export", config, folder):
        done = export_release(ws, folder, config, progress)
    tell(as_json, done.to_json(), done.lines())
