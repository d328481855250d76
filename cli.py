"""The `curate` command: read options, call one function of `curate/`, show the result.

What a command needs is imported inside it, so that `--help` is instant.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.rl.config import RLConfig

INTERRUPTED = 130  # what a shell reports for a command stopped by Ctrl-C


class Commands(TyperGroup):
    """All commands. What a user can mend becomes one line on stderr, Ctrl-C a calm exit."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, its imports included."""
        from curate.errors import USER_ERRORS

        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
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
rate = typer.Typer(
    no_args_is_help=True, help="Campaigns: ask raters, fetch and judge their answers."
)
app.add_typer(rate, name="rate")

Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder made by `curate init`.",
        show_default="the current folder",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(result: Any) -> None:
    """Print a command's result for a program to read."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))


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


@app.command("import")
def import_(
    table: Annotated[Path, typer.Argument(help="CSV with the columns path,Text,modality.")],
    workspace: Workspace = Path("."),
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Data folder that paths are in; else the table's own.", show_default=False
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="For rows that name no modality.", show_default=False)
    ] = None,
    new_modality: Annotated[
        list[str] | None,
        typer.Option(help="A modality curate does not know, taken as it is.", show_default=False),
    ] = None,
    window: Annotated[
        str, typer.Option(help="Of DICOM and NIfTI: header, full, or center,width (40,400).")
    ] = "header",
    slice_: Annotated[
        str | None,
        typer.Option(
            "--slice", help="Of a volume: middle, all, or a number from 0.", show_default=False
        ),
    ] = None,
    max_megapixels: Annotated[float, typer.Option(help="Refuse larger images unread.")] = 100.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Import nothing when one row is refused.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import real images from a CSV; good rows go in, bad ones are listed by line.

    Optional columns: label, patient, split, source, licence. Importing twice adds nothing.

    Example: curate import data.csv --strict
    """
    from curate.importing.config import ImportConfig, parse_slice, parse_window
    from curate.importing.real_images import import_table
    from curate.importing.summary import as_lines, to_json
    from curate.workspace import open_workspace

    config = ImportConfig(
        folder=folder,
        modality=modality,
        new_modalities=tuple(new_modality or ()),
        window=parse_window(window),
        slice=None if slice_ is None else parse_slice(slice_),
        max_megapixels=max_megapixels,
        strict=strict,
    )
    with open_workspace(workspace) as ws:
        imported = import_table(ws, table, config)
    if as_json:
        print_json(to_json(imported))
    else:
        typer.echo("\n".join(as_lines(imported)))
    if imported.stopped or not (imported.imported or imported.already_there):
        raise typer.Exit(1)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder of the workspace.")
    ] = Path("."),
    database_url: Annotated[
        str | None,
        typer.Option(
            help="postgresql://USER@HOST/NAME (password: ~/.pgpass).",
            show_default="SQLite in the folder",
        ),
    ] = None,
    storage_url: Annotated[
        str | None,
        typer.Option(
            help="s3://BUCKET/PREFIX or another fsspec URL.", show_default="files in the folder"
        ),
    ] = None,
) -> None:
    """Make a workspace: one project's rows and files.

    Example: curate init chest
    """
    from curate.workspace import init_workspace

    init_workspace(folder, database_url=database_url, storage_url=storage_url)
    typer.echo(f"Workspace in {folder.absolute()}")


@app.command()
def status(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Say what is there: counts, and how far the last run is.

    Example: curate status --json
    """
    from curate.status import read_status
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = read_status(ws)
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(found.lines()))


@app.command()
def doctor(
    workspace: Workspace = Path("."),
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move what does not belong to a quarantine folder."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that rows and files agree: one line for all that is wrong, and exit status 1.

    Example: curate doctor --repair
    """
    from curate import doctor as doctors
    from curate.workspace import open_workspace

    with open_workspace(workspace, alone=repair) as ws:
        report = doctors.examine(ws)
        if repair:
            report = doctors.repair(ws, report)
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo("\n".join(report.lines()))
    raise typer.Exit(0 if report.is_whole else 1)


@app.command("rl-step")
def rl_step(
    workspace: Workspace = Path("."),
    version: Annotated[
        str, typer.Option(help="Generator version to start from: an id's start.")
    ] = "latest",
    reward_model: Annotated[
        str, typer.Option(help="Reward model to follow: an id's start.")
    ] = "latest",
    updates: Annotated[
        int, typer.Option(help="Updates; each makes, scores and learns from new images.")
    ] = RLConfig.num_updates,
    prompts_per_update: Annotated[
        int, typer.Option(help="Prompts an update.")
    ] = RLConfig.prompts_per_update,
    group_size: Annotated[
        int, typer.Option(help="Images a prompt, compared with each other.")
    ] = RLConfig.group_size,
    steps: Annotated[int, typer.Option(help="Sampling steps S.")] = RLConfig.num_steps,
    window: Annotated[
        int, typer.Option(help="Steps K that are random and trained; K = S is plain DDPO.")
    ] = RLConfig.window_size,
    guidance: Annotated[
        float, typer.Option(help="Classifier-free guidance; not 1 doubles the cost.")
    ] = RLConfig.guidance,
    lora_rank: Annotated[
        int, typer.Option(help="Rank of the adapters; 0 trains the full weights.")
    ] = RLConfig.lora_rank,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's; full weights need about a tenth.")
    ] = RLConfig.learning_rate,
    spread_penalty: Annotated[
        float, typer.Option(help="Reward = mean - this x the ensemble's spread.")
    ] = RLConfig.spread_penalty,
    kl_weight: Annotated[
        float, typer.Option(help="First weight of the anchor to the start.")
    ] = RLConfig.kl_weight,
    kl_target: Annotated[
        float, typer.Option(help="Nats an image and step to spend; at 3 x this it stops.")
    ] = RLConfig.kl_target,
    rollout_dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, in rollouts.")
    ] = RLConfig.rollout_dtype,
    training_dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, in training.")
    ] = RLConfig.training_dtype,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = RLConfig.seed,
    as_json: Json = False,
) -> None:
    """Improve a generator's U-Net by a reward model: a new version, its parent the start.

    Stopped at any moment, the same command goes on after the last whole update.

    Example: curate rl-step --updates 20 --window 2
    """
    from curate.rl.command import in_lines, run_rl_step, summary
    from curate.workspace import open_workspace

    config = RLConfig(
        num_updates=updates,
        prompts_per_update=prompts_per_update,
        group_size=group_size,
        num_steps=steps,
        window_size=window,
        guidance=guidance,
        lora_rank=lora_rank,
        learning_rate=learning_rate,
        spread_penalty=spread_penalty,
        kl_weight=kl_weight,
        kl_target=kl_target,
        rollout_dtype=rollout_dtype,
        training_dtype=training_dtype,
        seed=seed,
    )
    with open_workspace(workspace) as ws:
        made = run_rl_step(
            ws,
            config,
            version=version,
            reward_model=reward_model,
            prompts=None,
            say=lambda line: typer.echo(line, err=True),
        )
        if as_json:
            print_json(summary(made))
        else:
            typer.echo("\n".join(in_lines(made)))


def main() -> None:
    """Run the command line; `--debug` may stand anywhere, since it is added after an error."""
    arguments = sys.argv[1:]
    debug = ["--debug"] if "--debug" in arguments else []
    app(debug + [argument for argument in arguments if argument != "--debug"], prog_name="curate")


if __name__ == "__main__":
    main()
