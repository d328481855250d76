"""The `curate` command: all groups of commands, and what becomes of their errors."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.cli import (
    evidence,
    generating,
    rating,
    rewards,
    rounds,
    training,
    versions,
    workspaces,
)

INTERRUPTED = 130  # what a shell reports for a command stopped by Ctrl-C


class Commands(TyperGroup):
    """All commands. What a user can mend becomes one line on stderr, Ctrl-C a calm exit."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, its imports included."""
        from curate.errors import USER_ERRORS, is_full_disk

        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from error
        except Exception as error:
            if ctx.params["debug"] or not is_full_disk(error):
                raise
            typer.echo(
                f"Error: No space left on the disk ({' '.join(str(error).split())}). Nothing "
                "half-written was kept: free some space and run the same command again.",
                err=True,
            )
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            typer.echo("Stopped. The same command again goes on from here.", err=True)
            raise typer.Exit(INTERRUPTED) from stop


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workspaces.commands)
app.add_typer(generating.commands)
app.add_typer(rating.commands)
app.add_typer(rewards.commands)
app.add_typer(rounds.commands)
app.add_typer(training.commands)
app.add_typer(versions.commands)
app.add_typer(evidence.commands)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"curate {__version__}")
        raise typer.Exit


@app.callback()
def curate(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (in any place).")
    ] = False,
) -> None:
    """Grow a better image generator and a vetted, traceable dataset from radiologists' ratings.

    Start here: curate quickstart
    """


def main() -> None:
    """Run the command line; `--debug` may stand anywhere, since it is added after an error."""
    arguments = sys.argv[1:]
    debug = ["--debug"] if "--debug" in arguments else []
    app(debug + [argument for argument in arguments if argument != "--debug"], prog_name="curate")


if __name__ == "__main__":
    main()
