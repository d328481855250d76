"""`curate rate practice`: what raters pass before a campaign, and who has passed."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, table, tell
from curate.rating.config import PracticeOptions
from curate.settings import takes_settings

practice = typer.Typer(invoke_without_command=True)


@practice.callback()
def show_practices(
    context: typer.Context, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Show who has passed which practice, with which share right; intervals are 95 %.

    Example: curate rate practice
    """
    if context.invoked_subcommand is not None:
        return
    from curate.rating.practice_report import practice_rows
    from curate.workspace import open_workspace
    from db.models import kind_of

    with open_workspace(workspace) as ws:
        rows = practice_rows(ws)
    lines = table(
        ("practice", "rater", "is", "passed", "right in the last pass", "of each question", "now"),
        [
            (
                row.practice,
                row.standing.rater,
                kind_of(row.standing.rater, simulated=row.standing.simulated),
                "yes" if row.standing.has_passed else "no",
                row.share(),
                row.shares(),
                row.standing.line(),
            )
            for row in rows
        ],
    )
    none = ["Nobody practises. Make a practice with `curate rate practice make`."]
    tell(as_json, [row.to_json() for row in rows], lines if rows else none)


@practice.command("make")
@takes_settings
def make(
    name: Annotated[str, typer.Argument(help="Name of the practice.")],
    options: PracticeOptions,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Make a practice of images whose answers are known; `--practice` names it to `rate push`.

    Example: curate rate practice make warm-up --known known.csv --controls 10
    """
    from curate.rating.practice import make_practice
    from curate.rating.practice_report import PracticeMade
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        made = PracticeMade.of(ws, make_practice(ws, name, options))
    tell(as_json, made.to_json(), made.lines())
