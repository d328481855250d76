"""`curate runs`. Runs tell and hear through files: this works while the database does not."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell

runs = typer.Typer(
    no_args_is_help=True, help="Runs and trainings of generators: watch, pause, stop."
)
WorkingRun = Annotated[
    str | None, typer.Argument(help="The run's first digits.", show_default="the one at work")
]


@runs.command("list")
def list_runs(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List what `generate` and `train-generator` do and did here: progress, rate, time left.

    Example: curate runs list
    """
    from curate.production.watch import run_states

    found = run_states(workspace)
    lines = [state.line() for state in found] or ["No run yet. Make one with `curate generate`."]
    tell(as_json, [state.to_json() for state in found], lines)


@runs.command()
def pause(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Let a working run or training wait after its present batch or step.

    Example: curate runs pause
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "pause"))


@runs.command()
def resume(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Let a paused run go on.

    Example: curate runs resume
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "run"))


@runs.command()
def stop(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """End a working run or training after its present batch or step; the same command goes on.

    Example: curate runs stop
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "stop"))
