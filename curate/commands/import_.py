"""`curate import`."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.importing.config import ImportConfig
from curate.settings import takes_settings


@takes_settings
def import_(
    table: Annotated[Path, typer.Argument(help="CSV with the columns path,Text,modality.")],
    config: ImportConfig,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Import real images from a CSV; bad rows are skipped and listed by line.

    With --synthetic images that another generator made: they are rated blind beside ours, scored,
    evaluated and exported, but never made again here.

    Optional columns: label, patient, split, source, licence; mask, prior, condition:ROLE for
    condition images, record:NAME a clinical record. Importing twice adds nothing.

    Example: curate import data.csv --strict
    """
    from curate.importing.elsewhere import import_made_elsewhere
    from curate.importing.real_images import import_table
    from curate.importing.summary import as_lines, to_json
    from curate.production.work import at_work
    from curate.workspace import dry_workspace, open_workspace

    take_in = import_made_elsewhere if config.synthetic else import_table
    if config.dry_run:
        with dry_workspace(workspace) as ws:
            imported = take_in(ws, table, config)
    else:
        named = (table.absolute(), config)
        with open_workspace(workspace) as ws, at_work(ws.folder, "import", *named):
            imported = take_in(ws, table, config)
    tell(as_json, to_json(imported), as_lines(imported))
    if imported.stopped or not (imported.imported or imported.already_there):
        raise typer.Exit(1)
