"""`curate translate`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, say, tell
from curate.settings import takes_settings
from curate.translation.config import TranslateOptions


@takes_settings
def translate(
    sources: Annotated[
        list[Path], typer.Argument(help="Images, DICOM or NIfTI files of any modality.")
    ],
    options: TranslateOptions,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Translate images to the modality that a translator was trained on, slice by slice.

    Results in --out are on their sources' grids. Existing results are not made again.

    Example: curate translate scan.nii.gz --version T1 --out translated
    """
    from curate.production.work import at_work
    from curate.progress import progress
    from curate.translation.translate import translate as translate_files
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws, at_work(ws.folder, "translate", *sources, options):
        done = translate_files(ws, sources, options, say=say, show=progress)
    tell(as_json, done.to_json(), done.lines())
    raise typer.Exit(1 if done.failed else 0)
