"""`curate utility`: does a synthetic set help those who train on it?"""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, tell
from curate.evaluation.config import UtilityConfig
from curate.settings import takes_settings

utility = typer.Typer(no_args_is_help=True, help="What training on synthetic images brings.")


@utility.command()
@takes_settings
def classify(
    config: UtilityConfig,
    real: Annotated[Path, typer.Option(help="Real training images: a CSV, or LABEL/FILE.")],
    test: Annotated[Path, typer.Option(help="Real test images, of other patients.")],
    release: Annotated[
        list[Path] | None,
        typer.Option(
            help="Synthetic set: a release, CSV or folder. The first is what the others are "
            "compared with (name the unvetted set first); repeat for several.",
            show_default=False,
        ),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            "-w",
            help="Workspace whose generator made the sets; testing on its real images is refused.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder to cache features and results in.")] = Path(
        ".curate-cache"
    ),
    as_json: Json = False,
) -> None:
    """Train classifiers on real images with and without synthetic ones; test on other patients.

    Arms of equal numbers: each set as it is, label-checked, weighted 1:1, learned first (not by
    linear); copies of the real images as a control; synthetic alone. If stopped, it resumes.

    Example: curate utility classify --real train.csv --test test.csv --release unvetted
    """
    from curate.evaluation.utility_sides import utility_of_tables
    from curate.progress import progress

    found = utility_of_tables(
        real, test, release or [], config, progress, cache=cache, workspace=workspace
    )
    tell(as_json, found.to_json(), found.lines())
