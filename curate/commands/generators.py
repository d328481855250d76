"""`curate generators`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.settings import ids_of

generators = typer.Typer(no_args_is_help=True, help="Generator versions: list, show, save.")
Version = Annotated[
    str,
    typer.Argument(
        help="An id, the first digits of one, or latest.", autocompletion=ids_of("version")
    ),
]


@generators.command("list")
def list_generators(
    archived: Annotated[bool, typer.Option("--archived", help="Also list archived ones.")] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """List families and versions: what each was made from and how.

    Example: curate generators list
    """
    from curate.production.described import describe_versions
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        versions = describe_versions(ws, archived=archived)
    header = f"{'version':<14}{'generator':<16}{'family':<16}{'how made':<16}{'parent':<14}images"
    tell(
        as_json,
        versions,
        [
            header,
            *(
                f"{v['id'][:12]:<14}{v['generator']:<16}{v['family']:<16}{v['how_made']:<16}"
                f"{(v['parent'] or '-')[:12]:<14}{v['num_images']}"
                for v in versions
            ),
        ],
    )


@generators.command()
def show(version: Version, workspace: Workspace = Path(".")) -> None:
    """Show one version: files, settings, figures, ancestors. Always JSON.

    Example: curate generators show latest
    """
    from curate.production.described import describe_version
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        tell(True, describe_version(ws, version), [])


@generators.command()
def save(
    version: Version,
    folder: Annotated[Path, typer.Argument(help="New folder, in the diffusers format.")],
    workspace: Workspace = Path("."),
) -> None:
    """Write a version's merged weights as a folder that diffusers opens.

    Example: curate generators save latest chest-model
    """
    from curate.production.versions import save_merged
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        is_new = save_merged(ws, version, folder)
    typer.echo(f"Saved to {folder}" if is_new else f"Already saved: {folder}")
