"""`curate journeys`: patients over time, from their studies to pairs that a generator learns."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.journeys.config import DescribeConfig, JourneyDemo, JourneyImport, RegisterConfig
from curate.settings import takes_settings

journeys = typer.Typer(
    no_args_is_help=True, help="Patients over time: pairs of a prior image and a later one."
)


@journeys.command()
@takes_settings
def demo(config: JourneyDemo, workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Make procedural patients whose truth is known, and import them: no data needed.

    Example: curate journeys demo --patients 300
    """
    from curate.journeys.demo import make_demo
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        made = make_demo(ws, config)
    tell(as_json, made.to_json(), made.lines())


@journeys.command("import")
@takes_settings
def import_(
    table: Annotated[Path, typer.Argument(help="Table of studies, or a folder of DICOM files.")],
    config: JourneyImport,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Import dated studies and pair each image with the same patient's previous one, by date.

    Splits are by patient. Prints how many rows each step drops, and names each refused row.

    Example: curate journeys import studies.csv --view PA --max-days 365
    """
    from curate.journeys.study_import import import_studies
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        imported = import_studies(ws, table, config)
    tell(as_json, imported.to_json(), imported.lines())
    if imported.stopped or not sum(imported.by_split.values()):
        raise typer.Exit(1)


@journeys.command()
@takes_settings
def register(
    config: RegisterConfig, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Register each new image to its prior; drop and name pairs that do not match.

    Prints how well pairs match, compared with pairs of strangers, and writes a contact sheet.

    Example: curate journeys register --min-ncc 0.5 --min-overlap 0.6
    """
    from curate.journeys.register import register_journeys
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = register_journeys(ws, config, progress)
    tell(as_json, found.to_json(), found.lines())


@journeys.command()
@takes_settings
def describe(
    config: DescribeConfig, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Describe in words what changed between the two images of each pair.

    From the table's own column, by rules on both reports, or by a language model that you serve.

    Example: curate journeys describe --text rules
    """
    from curate.journeys.describe import describe_journeys
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = describe_journeys(ws, config, progress)
    tell(as_json, found.to_json(), found.lines())
