"""`curate generate`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Loop, Workspace, tell
from curate.errors import CurateError
from curate.production.config import GenerateOptions
from curate.settings import takes_settings


@takes_settings
def generate(
    options: GenerateOptions,
    from_manifest: Annotated[
        Path | None,
        typer.Option(
            help="Release whose images are made again, into --out.",
            show_default=False,
            rich_help_panel="Make a release again",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder for --from-manifest.",
            show_default=False,
            rich_help_panel="Make a release again",
        ),
    ] = None,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Mass-produce images: prompts x count. Existing images are not made again.

    Example: curate generate --prompts prompts.csv --count 200
    """
    from curate.prompts.asked import check_asked
    from curate.workspace import open_workspace

    if from_manifest is None:
        check_asked(options)
    with open_workspace(workspace) as ws:
        if from_manifest is not None:
            from curate.release.remake import make_release_again

            typer.echo(make_release_again(ws, from_manifest, out))
            return
        from curate.cluster.on_ray import maker_of_runs

        if options.grid is not None and loop is not None:
            raise CurateError("--grid looks at one prior, and a loop's round makes its own images.")
        if options.grid is not None:
            from curate.prompts.grid import make_grid

            made = make_grid(ws, options, maker_of_runs(options))
        elif loop is None:
            from curate.prompts.generate import generate_images

            made = generate_images(ws, options, maker_of_runs(options))
        else:
            from curate.loop.by_hand import generate_for

            made = generate_for(ws, loop, options, maker_of_runs(options))
    tell(as_json, made.to_json(), made.lines())
    raise typer.Exit(0 if made.is_whole else 1)
