"""`curate runs`. Runs tell and hear through files: this works while the database does not."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, tell
from curate.settings import ids_of

runs = typer.Typer(
    no_args_is_help=True, help="Runs, trainings and other long commands: watch, pause, stop."
)
RUN_HELP = "First digits of the run's id."
WorkingRun = Annotated[
    str | None,
    typer.Argument(
        help=RUN_HELP, show_default="the one at work", autocompletion=ids_of("working run")
    ),
]
AnyRun = Annotated[
    str | None,
    typer.Argument(help=RUN_HELP, show_default="the last begun", autocompletion=ids_of("run")),
]


@runs.command("list")
def list_runs(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List runs, trainings and other long commands: progress, rate, time left.

    Example: curate runs list
    """
    from curate.production.watch import run_states

    found = run_states(workspace)
    lines = [state.line() for state in found] or ["No run yet. Make one with `curate generate`."]
    tell(as_json, [state.to_json() for state in found], lines)


@runs.command()
def log(
    run: AnyRun = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until it ends.")
    ] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Print the log of a run, a training or another long command.

    Example: curate runs log --follow
    """
    from curate.production.watch import line_in_words, log_lines

    for line in log_lines(workspace, run, follow=follow):
        typer.echo(line if as_json else line_in_words(line))


@runs.command()
def pause(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Pause a run or training after its current batch or step.

    Example: curate runs pause
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "pause"))


@runs.command()
def resume(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Resume a paused run.

    Example: curate runs resume
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "run"))


@runs.command()
def stop(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Stop a run or training after its current batch or step; the same command resumes it.

    Example: curate runs stop
    """
    from curate.production.watch import ask_run

    typer.echo(ask_run(workspace, run, "stop"))
