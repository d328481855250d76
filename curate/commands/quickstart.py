"""`curate quickstart`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, say, tell
from curate.loop.config import QuickstartOptions, quickstart_config
from curate.settings import takes_settings


@takes_settings
def quickstart(
    options: QuickstartOptions,
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder for the new workspace.")
    ] = Path("quickstart"),
    as_json: Json = False,
) -> None:
    """Run the whole loop on the embedded model with simulated raters, in minutes.

    Example: curate quickstart
    """
    from curate.demos.circle import run_circle
    from curate.demos.text_to_image import begin
    from curate.workspace import init_workspace, open_workspace

    if not (folder / "curate.json").exists():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        result = run_circle(ws, quickstart_config(**vars(options)), begin(ws, say), say=say)
    tell(as_json, result.to_json(), result.table())
