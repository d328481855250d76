"""Generator versions."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import Json, Workspace, print_json

commands = typer.Typer()
generators = typer.Typer(no_args_is_help=True, help="Generator versions: list, show, save.")
commands.add_typer(generators, name="generators")


@generators.command("list")
def list_generators(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List families and versions: what each was made from, and how.

    Example: curate generators list
    """
    from curate.commands.generators import describe_versions, version_lines
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        versions = describe_versions(ws)
    if as_json:
        print_json(versions)
    else:
        typer.echo("\n".join(version_lines(versions)))


@generators.command()
def show(
    version: Annotated[str, typer.Argument(help="An id or its beginning, or latest.")],
    workspace: Workspace = Path("."),
) -> None:
    """Show one version: files, settings, figures, ancestors. Always JSON.

    Example: curate generators show latest
    """
    from curate.commands.generators import describe_version
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        print_json(describe_version(ws, version))


@generators.command()
def save(
    version: Annotated[str, typer.Argument(help="An id or its beginning, or latest.")],
    folder: Annotated[Path, typer.Argument(help="New folder, in the diffusers format.")],
    workspace: Workspace = Path("."),
) -> None:
    """Write a version's merged weights as a folder that diffusers opens.

    Example: curate generators save latest chest-model
    """
    from curate.commands.generators import save_version
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        is_new = save_version(ws, version, folder)
    typer.echo(f"Saved to {folder}" if is_new else f"Is there already: {folder}")
