"""The `curate` command: all groups of commands, and what becomes of their errors."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.commands.accounts import accounts
from curate.commands.backup import backup, restore
from curate.commands.benchmark import benchmark
from curate.commands.clinical import clinical
from curate.commands.doctor import doctor
from curate.commands.effect import effect
from curate.commands.evaluate import evaluate
from curate.commands.export import export
from curate.commands.generate import generate
from curate.commands.generators import generators
from curate.commands.import_ import import_
from curate.commands.init import init
from curate.commands.journeys import journeys
from curate.commands.loop import gate, loop
from curate.commands.prune import archive, prune
from curate.commands.quickstart import quickstart
from curate.commands.rate import rate
from curate.commands.report import report
from curate.commands.rl_step import rl_step
from curate.commands.runs import runs
from curate.commands.score import score
from curate.commands.search import search
from curate.commands.serve import serve
from curate.commands.status import status
from curate.commands.train_generator import train_generator
from curate.commands.train_reward import train_reward
from curate.commands.translate import translate
from curate.commands.utility import utility
from curate.quiet import QUIET

PANELS = ("Start here", "Workspace", "Images", "Ratings", "Reward", "Training", "Evidence")
EVERYWHERE = ("--debug", "--quiet", "-q")  # often added after a first try
NO_WINDOWS = (
    "curate needs Linux's file locks, which Windows lacks. Run it in WSL2 or in a container: see "
    "docs/installing.md."
)
INTERRUPTED = 130  # what a shell reports for a command stopped by Ctrl-C


class Commands(TyperGroup):
    """All commands. What a user can mend becomes one line on stderr, Ctrl-C a calm exit."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands by the panels of `--help`, which are the steps of the work."""
        return sorted(super().list_commands(ctx), key=self._panel)

    def _panel(self, command: str) -> int:
        panel = getattr(self.commands[command], "rich_help_panel", None)
        return PANELS.index(panel) if panel in PANELS else len(PANELS)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, its imports included."""
        from curate.errors import USER_ERRORS, is_full_disk

        before = QUIET.set(bool(ctx.params.get("quiet")))
        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from error
        except typer.TyperException as error:  # a mistyped option or value
            said = error.format_message().replace("Value error, ", "").rstrip(".")
            if len(said.splitlines()) > 1:  # the help of a group that was called alone
                raise
            typer.echo(f"Error: {said}.{_where_to_look(error)}", err=True)
            raise typer.Exit(error.exit_code) from error
        except ModuleNotFoundError as error:
            if error.name != "fcntl" or ctx.params["debug"]:
                raise
            typer.echo(f"Error: {NO_WINDOWS}", err=True)
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
            typer.echo("Stopped. Run the same command again to resume.", err=True)
            raise typer.Exit(INTERRUPTED) from stop
        finally:
            QUIET.reset(before)


def _where_to_look(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" See `{context.command_path} --help`."


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Start here")(quickstart)
app.command(rich_help_panel="Workspace")(init)
app.command("import", rich_help_panel="Workspace")(import_)
app.add_typer(journeys, name="journeys", rich_help_panel="Workspace")
app.command(rich_help_panel="Workspace")(status)
app.command(rich_help_panel="Workspace")(doctor)
app.command(rich_help_panel="Workspace")(backup)
app.command(rich_help_panel="Workspace")(restore)
app.command(rich_help_panel="Workspace")(archive)
app.command(rich_help_panel="Workspace")(prune)
app.command(rich_help_panel="Images")(generate)
app.command(rich_help_panel="Images")(translate)
app.command(rich_help_panel="Images")(search)
app.command(rich_help_panel="Images")(benchmark)
app.add_typer(runs, name="runs", rich_help_panel="Images")
app.add_typer(generators, name="generators", rich_help_panel="Images")
app.add_typer(rate, name="rate", rich_help_panel="Ratings")
app.command("train-reward", rich_help_panel="Reward")(train_reward)
app.command(rich_help_panel="Reward")(score)
app.command("train-generator", rich_help_panel="Training")(train_generator)
app.command("rl-step", rich_help_panel="Training")(rl_step)
app.command(rich_help_panel="Training")(loop)
app.command(rich_help_panel="Training")(gate)
app.command(rich_help_panel="Evidence")(export)
app.command(rich_help_panel="Evidence")(evaluate)
app.add_typer(utility, name="utility", rich_help_panel="Evidence")
app.command(rich_help_panel="Evidence")(effect)
app.add_typer(clinical, name="clinical", rich_help_panel="Start here")
app.command(rich_help_panel="Evidence")(report)
app.command(rich_help_panel="Evidence")(serve)
app.add_typer(accounts, name="accounts", rich_help_panel="Workspace")


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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show results and errors only (in any place).")
    ] = False,
) -> None:
    """Grow a better image generator and a vetted, traceable dataset from radiologists' ratings.

    Start here: curate quickstart
    """


def main() -> None:
    """Run the command line; what holds of every command may stand anywhere in it."""
    everywhere = [word for word in sys.argv[1:] if word in EVERYWHERE]
    rest = [word for word in sys.argv[1:] if word not in EVERYWHERE]
    app(everywhere + rest, prog_name="curate")


if __name__ == "__main__":
    main()
