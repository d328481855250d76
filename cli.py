"""The `curate` command: read options, call one function of `curate/`, show the result.

What a command needs is imported inside it, so that `--help` is instant.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from annotation.config import ServerConfig
from curate import __version__
from curate.export.config import FORMATS, ExportConfig
from curate.image_service.config import ImageServiceConfig
from curate.rl.config import ALGORITHMS as RL_ALGORITHMS
from curate.rl.config import LORA_TARGETS, RLConfig
from curate.train_generator.config import LessonConfig
from generators.training.config import TrainingConfig
from rewards.config import RewardConfig

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
generators = typer.Typer(no_args_is_help=True, help="Generator versions: list, show, save.")
app.add_typer(generators, name="generators")
runs = typer.Typer(no_args_is_help=True, help="Runs of `curate generate`: watch, pause, stop.")
app.add_typer(runs, name="runs")

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


@app.command()
def generate(
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV: modality,text and optionally label,count.", show_default=False),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help='A text, or "OCT: drusen".', show_default=False)
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="For --prompt; several: each.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option(help="Images a prompt.")] = 10,
    balance: Annotated[
        int | None,
        typer.Option(
            help="Bring each label to so many images, real ones included.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of each prompt's first image.")] = 0,
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version: an id or its beginning.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="A Stable Diffusion 1.x folder or hub name.", show_default=False),
    ] = None,
    unet: Annotated[
        str | None, typer.Option(help="A separate U-Net folder for --base.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 20,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1: none.")] = 1.0,
    sampler: Annotated[str, typer.Option(help="ddim, dpm++ or unipc.")] = "ddim",
    batch_size: Annotated[int, typer.Option(help="Images a compute batch.")] = 16,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    decoder_dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, from latents to pixels.")
    ] = "float32",
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Another memory layout; may be faster.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile; on a GPU with CUDA graphs.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    ray: Annotated[
        str | None,
        typer.Option(
            help="Share the work on Ray: auto (here), or a cluster's address.", show_default=False
        ),
    ] = None,
    from_manifest: Annotated[
        Path | None,
        typer.Option(help="A release: make its images again, into --out.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for --from-manifest.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Mass-produce images: prompts x count. What is there already is not made again.

    Example: curate generate --prompts prompts.csv --count 200
    """
    from curate.commands.generate import GenerateOptions, generate_images, make_release_again
    from curate.workspace import open_workspace
    from generators.config import SamplingSettings

    with open_workspace(workspace) as ws:
        if from_manifest is not None:
            typer.echo(make_release_again(ws, from_manifest, out))
            return
        options = GenerateOptions(
            sheet=prompts,
            texts=tuple(prompt or ()),
            modalities=tuple(modality or ()),
            count=count,
            balance=balance,
            first_seed=seed,
            version=version,
            base=base,
            unet=unet,
            dry_run=dry_run,
            device=device,
            ray=ray,
            settings=SamplingSettings(
                num_steps=steps,
                guidance=guidance,
                sampler=sampler,
                batch_size=batch_size,
                dtype=dtype,
                decoder_dtype=decoder_dtype,
                channels_last=channels_last,
                compile=compiled,
            ),
        )
        made = generate_images(ws, options)
    if as_json:
        print_json(made.to_json())
    else:
        typer.echo("\n".join(made.lines()))
    raise typer.Exit(0 if made.is_whole else 1)


@app.command()
def benchmark(
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version: an id or its beginning.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 20,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1: none.")] = 1.0,
    sampler: Annotated[str, typer.Option(help="ddim, dpm++ or unipc.")] = "ddim",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    largest_batch: Annotated[int, typer.Option(help="Largest compute batch to try.")] = 64,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Try torch.compile too; takes minutes.")
    ] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Measure a generator here; say which batch shape and settings are fastest.

    Example: curate benchmark --steps 20
    """
    from curate.commands.benchmark import describe, lines, run_benchmark
    from curate.workspace import open_workspace
    from generators.config import SamplingSettings

    settings = SamplingSettings(num_steps=steps, guidance=guidance, sampler=sampler)
    with open_workspace(workspace) as ws:
        found = run_benchmark(
            ws,
            version,
            settings,
            device=device,
            largest_batch=largest_batch,
            compiling=compiled,
            say=_say,
        )
    if as_json:
        print_json(describe(found))
    else:
        typer.echo("\n".join(lines(found)))


@runs.command("list")
def list_runs(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List what `curate generate` does and did here: progress, rate, time left, GPU memory.

    Example: curate runs list
    """
    from curate.commands.runs import lines, states

    found = states(workspace)
    if as_json:
        print_json([state.to_json() for state in found])
    else:
        typer.echo("\n".join(lines(found)))


WorkingRun = Annotated[
    str | None, typer.Argument(help="The run's first digits.", show_default="the one at work")
]


@runs.command()
def pause(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Let a working run wait after its present batch, its images written.

    Example: curate runs pause
    """
    from curate.commands.runs import ask_run

    typer.echo(ask_run(workspace, run, "pause"))


@runs.command()
def resume(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Let a paused run go on.

    Example: curate runs resume
    """
    from curate.commands.runs import ask_run

    typer.echo(ask_run(workspace, run, "run"))


@runs.command()
def stop(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """End a working run after its present batch; the same `curate generate` goes on later.

    Example: curate runs stop
    """
    from curate.commands.runs import ask_run

    typer.echo(ask_run(workspace, run, "stop"))


@generators.command("list")
def list_generators(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List families and versions: what each was made from, and how.

    Example: curate generators list
    """
    from curate.commands.generators import describe_versions, version_lines
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        versions = describe_versions(ws)
    if as_json:
        print_json(versions)
    else:
        typer.echo("\n".join(version_lines(versions)))


@generators.command()
def show(
    version: Annotated[str, typer.Argument(help="An id or its beginning, or latest.")],
    workspace: Workspace = Path("."),
) -> None:
    """Show one version: files, settings, figures, ancestors. Always JSON.

    Example: curate generators show latest
    """
    from curate.commands.generators import describe_version
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        print_json(describe_version(ws, version))


@generators.command()
def save(
    version: Annotated[str, typer.Argument(help="An id or its beginning, or latest.")],
    folder: Annotated[Path, typer.Argument(help="New folder, in the diffusers format.")],
    workspace: Workspace = Path("."),
) -> None:
    """Write a version's merged weights as a folder that diffusers opens.

    Example: curate generators save latest chest-model
    """
    from curate.commands.generators import save_version
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        save_version(ws, version, folder)
    typer.echo(f"Saved to {folder}")


@app.command()
def loop(
    rounds: Annotated[int, typer.Option(help="Rounds in all; earlier ones are kept.")] = 1,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: modality,text and optionally label.", show_default="the embedded model's"
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version to begin with.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the loop; another name is another loop.")] = "loop",
    raters: Annotated[str, typer.Option(help="simulated, or label-studio: people.")] = "simulated",
    images_from: Annotated[
        str, typer.Option(help="For people: as in `curate rate push`.")
    ] = "local",
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and go on whenever people have.")
    ] = False,
    images_per_prompt: Annotated[int, typer.Option(help="Rated a round.")] = 16,
    gate_images: Annotated[
        int, typer.Option(help="Of each version a prompt, rated before a round's version is kept.")
    ] = 8,
    updates: Annotated[int, typer.Option(help="RL updates a round.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the whole loop.")] = 0,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Run the whole circle: generate, rate, learn, RL step, gate.

    Stopped anywhere, the same command goes on from there. With people it does what is possible
    now and says what it waits for.

    Example: curate loop --rounds 3
    """
    from curate.commands.loop import (
        LoopOptions,
        loop_rounds,
        looped_json,
        looped_lines,
        watch_loop,
    )
    from curate.workspace import open_workspace

    options = LoopOptions(
        rounds=rounds,
        sheet=prompts,
        version=version,
        name=name,
        raters=raters,
        images_from=images_from,
        images_per_prompt=images_per_prompt,
        gate_images_per_prompt=gate_images,
        updates=updates,
        seed=seed,
    )
    with open_workspace(workspace) as ws:
        looped = (watch_loop if watch else loop_rounds)(ws, options, say=_say)
        if as_json:
            print_json(looped_json(looped))
        else:
            typer.echo("\n".join(looped_lines(looped)))


@app.command()
def quickstart(
    folder: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="Folder of the workspace that it makes.")
    ] = Path("quickstart"),
    rounds: Annotated[int, typer.Option(help="Rounds of the loop.")] = 2,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Run all of it on the embedded model with simulated raters, in minutes.

    Example: curate quickstart
    """
    from curate.config import quickstart_config
    from curate.quickstart import run_quickstart
    from curate.workspace import init_workspace, open_workspace

    if not (folder / "curate.json").exists():
        init_workspace(folder)
    with open_workspace(folder) as ws:
        result = run_quickstart(ws, quickstart_config(rounds=rounds, seed=seed), say=_say)
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo("\n".join(result.table()))


def _say(line: str) -> None:
    typer.echo(line, err=True)


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
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take rows with an empty Text, for a captioner.")
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
        unlabelled=unlabelled,
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


@rate.command()
def simulate(
    name: Annotated[
        str | None,
        typer.Option(help="Of the campaign.", show_default="what was begun, else the next number"),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="A random draw of so many.", show_default="all unrated")
    ] = None,
    origin: Annotated[str, typer.Option(help="synthetic, real or both.")] = "synthetic",
    version: Annotated[
        str | None, typer.Option(help="Only this generator version's.", show_default=False)
    ] = None,
    raters: Annotated[int, typer.Option(help="Simulated raters.")] = 3,
    overlap: Annotated[int, typer.Option(help="Raters an image.")] = 2,
    controls: Annotated[
        float, typer.Option(help="Real images that all rate, as a share of the images.")
    ] = 0.05,
    repeats: Annotated[
        float, typer.Option(help="Share of images a rater sees a second time.")
    ] = 0.05,
    purpose: Annotated[
        str, typer.Option(help="train, or calibration: for the promise of a release.")
    ] = "train",
    seed: Annotated[int, typer.Option(help="Of draw, shares and orders.")] = 0,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Let simulated raters rate images that nobody was asked about; marked everywhere.

    Stopped anywhere, the same command goes on from there.

    Example: curate rate simulate --images 400 --overlap 3
    """
    from curate.commands import rate as commands
    from curate.workspace import open_workspace

    options = commands.SimulateOptions(
        name=name,
        origin=origin,
        version=version,
        max_images=images,
        num_raters=raters,
        overlap=overlap,
        control_fraction=controls,
        repeat_fraction=repeats,
        seed=seed,
        purpose=purpose,
    )
    with open_workspace(workspace) as ws:
        done = commands.simulate(ws, options)
    if as_json:
        print_json([campaign.to_json() for campaign in done])
    else:
        typer.echo("\n".join(line for campaign in done for line in campaign.lines()))


Campaign = Annotated[str | None, typer.Option(help="Only this one.", show_default="all campaigns")]


@rate.command("import")
def import_ratings(
    table: Annotated[
        Path, typer.Argument(help="CSV: image_path,rating,modality,expert_level,prompt.")
    ],
    rater: Annotated[
        str | None,
        typer.Option(help="Who rated, where the file does not say.", show_default=False),
    ] = None,
    campaign: Annotated[
        str | None,
        typer.Option(help="Where the file names none.", show_default="the file's name"),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Take ratings from MINIM's CSV; good lines go in, bad ones are listed. Twice adds nothing.

    Example: curate rate import ratings.csv --rater "Dr. Lee"
    """
    from dataclasses import asdict

    from curate.commands.rate import import_lines
    from curate.rating.files import import_ratings as take_file
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        done = take_file(ws, table, rater=rater, campaign=campaign)
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo("\n".join(import_lines(done)))
    if done.bad and not (done.taken.new or done.taken.revised or done.taken.unchanged):
        raise typer.Exit(1)


@rate.command("export")
def export_ratings(
    table: Annotated[Path, typer.Argument(help="New CSV; its images go into a folder beside it.")],
    campaign: Campaign = None,
    workspace: Workspace = Path("."),
) -> None:
    """Write ratings as MINIM's CSV, who rated and whether simulated in columns after its own.

    Example: curate rate export ratings.csv
    """
    from curate.rating.files import export_ratings as write_file
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        num_ratings = write_file(ws, table, campaign=campaign)
    typer.echo(f"{num_ratings} ratings in {table}")


@rate.command("status")
def rate_status(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Say how far each campaign is.

    Example: curate rate status
    """
    from curate.commands.rate import campaign_lines
    from curate.rating.report import campaign_rows
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        rows = campaign_rows(ws)
    if as_json:
        print_json(rows)
    else:
        typer.echo("\n".join(campaign_lines(rows)))


@rate.command("serve")
def rate_serve(
    url: Annotated[
        str | None,
        typer.Option(help="A Label Studio that runs already.", show_default="one of our own"),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="File that holds its token, or - for standard input.",
            show_default="CURATE_LABEL_STUDIO_TOKEN",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where Label Studio listens.")] = ServerConfig.host,
    port: Annotated[int, typer.Option(help="A busy one is refused.")] = ServerConfig.port,
    workspace: Workspace = Path("."),
) -> None:
    """Run Label Studio for this workspace's raters and pull what they answer, until Ctrl-C.

    The first start makes an environment for Label Studio (a minute, 1 GB).

    Example: curate rate serve
    """
    from curate.commands import rate_people as commands
    from curate.rating.server import ServeOptions
    from curate.workspace import open_workspace

    options = ServeOptions(
        server=ServerConfig(host=host, port=port), url=url, token=commands.read_token(token)
    )
    with open_workspace(workspace) as ws:
        commands.serve_until_stopped(ws, options, typer.echo)


@rate.command("stop")
def rate_stop(workspace: Workspace = Path(".")) -> None:
    """End this workspace's `curate rate serve`, wherever it runs on this machine.

    Example: curate rate stop
    """
    from curate.rating.server import stop_serving
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        stopped = stop_serving(ws)
    typer.echo("Stopped." if stopped else "Nothing was running.")


@rate.command("images")
def rate_images(
    page: Annotated[
        list[str] | None,
        typer.Option(
            help="Rating page that may show the images; again for more.",
            show_default="this workspace's Label Studio",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = ImageServiceConfig.host,
    port: Annotated[int, typer.Option(help="A busy one is refused.")] = ImageServiceConfig.port,
    workspace: Workspace = Path("."),
) -> None:
    """Serve raters' images at signed addresses that expire, until Ctrl-C: for teams.

    Listens on this machine only; put a proxy with TLS before it. One machine needs no such service.

    Example: curate rate images --page https://label-studio.example.org
    """
    from curate.commands.rate_images import serve_images
    from curate.commands.rate_people import stop_at_a_signal
    from curate.workspace import open_workspace

    config = ImageServiceConfig(host=host, port=port, origins=tuple(page or ()))
    with open_workspace(workspace) as ws:
        serve_images(ws, config, say=typer.echo, stop=stop_at_a_signal())


@rate.command()
def push(
    name: Annotated[str, typer.Option(help="Of the campaign; a known one is completed.")],
    select: Annotated[str, typer.Option(help="all, version or active.")] = "all",
    purpose: Annotated[
        str, typer.Option(help="train, or calibration: for the promise of a release.")
    ] = "train",
    version: Annotated[
        str | None, typer.Option(help="For --select version.", show_default=False)
    ] = None,
    origin: Annotated[str, typer.Option(help="synthetic, real or both.")] = "synthetic",
    images: Annotated[
        int | None, typer.Option(help="Choose so many.", show_default="all unrated")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Compare two images of a prompt.")] = False,
    rubric: Annotated[
        Path | None, typer.Option(help="TOML: what is asked.", show_default="one grade, 1 to 3")
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="Again for more.", show_default="all active people")
    ] = None,
    overlap: Annotated[int, typer.Option(help="Raters an image.")] = 2,
    controls: Annotated[
        float, typer.Option(help="Images of known worth, as a share of the images.")
    ] = 0.1,
    repeats: Annotated[
        float, typer.Option(help="Share of images a rater sees a second time.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Of draw, shares and orders.")] = 0,
    images_from: Annotated[
        str,
        typer.Option(help="local, the image service's address, or a store like s3://bucket/x."),
    ] = "local",
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Ask people about images, blind, in Label Studio. Again: only what is missing is sent.

    Example: curate rate push --name first --images 200
    """
    from curate.commands import rate_people as commands
    from curate.rating.plan import PushOptions
    from curate.workspace import open_workspace

    options = PushOptions(
        name=name,
        select=select,
        purpose=purpose,
        version=version,
        origin=origin,
        max_images=images,
        pairs=pairs,
        rubric=rubric,
        raters=tuple(rater or ()),
        overlap=overlap,
        control_fraction=controls,
        repeat_fraction=repeats,
        seed=seed,
    )
    with open_workspace(workspace) as ws:
        pushed = commands.push(ws, options, images_from=images_from)
    if as_json:
        print_json(pushed.to_json())
    else:
        typer.echo("\n".join(pushed.lines()))


@rate.command()
def pull(
    campaign: Annotated[
        list[str] | None, typer.Option(help="Only this; again for more.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Read all answers again, not only what changed.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fetch people's answers. Nothing is lost and nothing doubled, however often it runs.

    Example: curate rate pull
    """
    from dataclasses import asdict

    from curate.commands import rate_people as commands
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        if watch:
            commands.watch_until_stopped(ws, typer.echo)
            return
        fetched = commands.pull(ws, campaign or (), everything=everything)
    if as_json:
        print_json([asdict(entry) for entry in fetched])
    else:
        typer.echo("\n".join(commands.pull_lines(fetched)))


raters_group = typer.Typer(invoke_without_command=True)
rate.add_typer(raters_group, name="raters")


@raters_group.callback()
def show_raters(
    context: typer.Context,
    campaign: Campaign = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Show each rater's mean, severity against the others, share of top ratings, repeats.

    Example: curate rate raters
    """
    if context.invoked_subcommand is not None:
        return
    from curate.commands.rate import rater_lines
    from curate.rating.report import rater_rows
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        rows = rater_rows(ws, campaign)
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        typer.echo("\n".join(rater_lines(rows)))


@raters_group.command("invite")
def invite_rater(
    email: Annotated[str, typer.Argument(help="The person's address; it stays in the workspace.")],
    name: Annotated[
        str | None, typer.Option(help="Pseudonym in all tables.", show_default="reader-1, -2 ...")
    ] = None,
    level: Annotated[int, typer.Option(help="1 trainee .. 3 specialist.", min=1, max=3)] = 3,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Give a person an account to rate with; again: a new password.

    Example: curate rate raters invite lee@hospital.org --level 3
    """
    from dataclasses import asdict

    from curate.commands.rate_people import invitation_lines
    from curate.rating.people import invite
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        person, invitation = invite(ws, email, name=name, expert_level=level, say=typer.echo)
    if as_json:
        print_json(asdict(person) | asdict(invitation))
    else:
        typer.echo("\n".join(invitation_lines(person, invitation)))


@raters_group.command("list")
def list_raters(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List the people who were invited.

    Example: curate rate raters list
    """
    from curate.commands.rate_people import people_lines
    from curate.rating.people import people
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = people(ws)
    if as_json:
        print_json([person.to_json() for person in found])
    else:
        typer.echo("\n".join(people_lines(found)))


@raters_group.command("deactivate")
def deactivate_rater(
    name: Annotated[str, typer.Argument(help="The rater's pseudonym.")],
    workspace: Workspace = Path("."),
) -> None:
    """Ask a person no more and close the account; ratings given so far stay and count.

    Example: curate rate raters deactivate reader-1
    """
    from curate.rating.people import deactivate
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        person = deactivate(ws, name, say=typer.echo)
    typer.echo(f"{person.name} is asked no more.")


@rate.command("agreement")
def show_agreement(
    campaign: Campaign = None, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Show what ratings are worth: agreement, strictness, controls, real or synthetic, pace.

    Every figure comes with its 95 % interval or why there is none; docs/agreement.md explains them.

    Example: curate rate agreement --campaign loop-round-1
    """
    from curate.agreement.worth import ratings_worth
    from curate.commands.agreement import worth_lines
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = ratings_worth(ws, campaign)
    if as_json:
        print_json([group.to_json() for group in found])
    else:
        typer.echo("\n".join(worth_lines(found)))


@app.command()
def train_reward(
    as_judge: Annotated[
        bool,
        typer.Option("--as-judge", help="A model that only measures: other raters and backbone."),
    ] = False,
    campaign: Annotated[
        list[str] | None, typer.Option(help="Only these; again for more.", show_default=False)
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="Only theirs; again for more.", show_default=False)
    ] = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(help="Only this question; again for more.", show_default=False),
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="embedded, features, torchvision/NAME, a transformers folder or OWNER/NAME."
        ),
    ] = RewardConfig.backbone,
    min_ratings: Annotated[int, typer.Option(help="Refuse fewer.")] = RewardConfig.min_ratings,
    seed: Annotated[int, typer.Option(help="Of the fit.")] = RewardConfig.seed,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fit a reward model to the ratings; print its quality on held-out prompts.

    Example: curate train-reward
    """
    from curate.commands.rewards import describe_reward_model, reward_model_lines
    from curate.reward_training import train_reward as fit
    from curate.workspace import open_workspace

    config = RewardConfig(backbone=backbone, min_ratings=min_ratings, seed=seed)
    with open_workspace(workspace) as ws:
        row = fit(
            ws,
            config,
            role="judge" if as_judge else "reward",
            campaigns=campaign or (),
            raters=rater or (),
            criteria=criterion or (),
        )
    if as_json:
        print_json(describe_reward_model(row))
    else:
        typer.echo("\n".join(reward_model_lines(row)))


@app.command()
def score(
    reward_model: Annotated[str, typer.Option(help="An id's start, or latest.")] = "latest",
    version: Annotated[
        str | None, typer.Option(help="Only this generator version's.", show_default=False)
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="Only real, or only synthetic.", show_default=False)
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Score images with a reward model; what has a score of it is not scored again.

    Example: curate score
    """
    from curate.commands import rewards as commands
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        done = commands.score(ws, reward_model, commands.which_images(ws, version, origin))
    if as_json:
        print_json(done.to_json())
    else:
        typer.echo("\n".join(commands.score_lines(done)))


@app.command("rl-step")
def rl_step(
    context: typer.Context,
    workspace: Workspace = Path("."),
    version: Annotated[
        str, typer.Option(help="Generator version to start from: an id's start.")
    ] = "latest",
    reward_model: Annotated[
        str, typer.Option(help="Reward model to follow: an id's start.")
    ] = "latest",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: modality,text and optionally label.",
            show_default="those of the rated images",
        ),
    ] = None,
    from_ratings: Annotated[
        bool, typer.Option("--from-ratings", help="nft: learn from rated images, no reward model.")
    ] = False,
    from_ddpo_config: Annotated[
        Path | None,
        typer.Option(help="JSON of TRL's DDPOConfig fields; options beside it are stronger."),
    ] = None,
    algorithm: Annotated[
        str, typer.Option(help=f"How to learn: {', '.join(RL_ALGORITHMS)}.")
    ] = RLConfig.algorithm,
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
        int, typer.Option(help="window: steps K that are random and trained.")
    ] = RLConfig.window_size,
    sampler: Annotated[
        str, typer.Option(help="nft: makes the images; name the one that you generate with.")
    ] = RLConfig.sampler,
    guidance: Annotated[
        float, typer.Option(help="Classifier-free guidance; not 1 doubles the cost.")
    ] = RLConfig.guidance,
    lora_rank: Annotated[
        int, typer.Option(help="Rank of the adapters; 0 trains the full weights.")
    ] = RLConfig.lora_rank,
    lora_targets: Annotated[
        str, typer.Option(help=f"Where adapters sit: {' or '.join(LORA_TARGETS)}.")
    ] = RLConfig.lora_targets,
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
        float, typer.Option(help="Mean squared change of predictions to spend; stops at 3 x.")
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

    Stopped at any moment, the same command goes on after the last whole update. On several GPUs:
    accelerate launch -m cli rl-step ...

    Example: curate rl-step --updates 20 --window 2
    """
    from curate.commands.rl_step import given_options, in_lines, run_rl_step, settings, summary
    from curate.workspace import open_workspace

    options = dict(
        algorithm=algorithm,
        num_updates=updates,
        prompts_per_update=prompts_per_update,
        group_size=group_size,
        num_steps=steps,
        window_size=window,
        sampler=sampler,
        guidance=guidance,
        lora_rank=lora_rank,
        lora_targets=lora_targets,
        learning_rate=learning_rate,
        spread_penalty=spread_penalty,
        kl_weight=kl_weight,
        kl_target=kl_target,
        rollout_dtype=rollout_dtype,
        training_dtype=training_dtype,
        seed=seed,
    )
    config = settings(options, given_options(context), from_ddpo_config, _say)
    with open_workspace(workspace) as ws:
        made = run_rl_step(
            ws,
            config,
            version=version,
            reward_model=reward_model,
            sheet=prompts,
            from_people=from_ratings or config.algorithm == "dpo",
            say=_say,
        )
        if as_json:
            print_json(summary(made))
        else:
            typer.echo("\n".join(in_lines(made)))


@app.command("train-generator")
def train_generator(
    workspace: Workspace = Path("."),
    version: Annotated[
        str | None,
        typer.Option(
            help="Generator version to start from: an id's start.",
            show_default="latest, or the embedded model",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Start from a Stable Diffusion 1.x folder or hub name.", show_default=False
        ),
    ] = None,
    unet: Annotated[
        str | None, typer.Option(help="A separate U-Net folder for --base.", show_default=False)
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Learn only this one; again for more.", show_default="all"),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real/--no-real", help="Learn imported images that have a text.")
    ] = LessonConfig.real,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Learn images without a text too, captioned by this transformers folder or name.",
            show_default=False,
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Learn generated images with their prompts too.")
    ] = LessonConfig.synthetic,
    least_score: Annotated[
        float | None,
        typer.Option(help="Of --synthetic, by the newest reward model.", show_default="any"),
    ] = None,
    rated: Annotated[
        bool, typer.Option("--rated", help="Learn images that people rated well too.")
    ] = LessonConfig.rated,
    least_rating: Annotated[
        float, typer.Option(help="Mean rating of --rated.")
    ] = LessonConfig.least_rating,
    balance: Annotated[
        bool, typer.Option("--balance", help="Show rare modalities and labels as often as others.")
    ] = LessonConfig.balance,
    replay: Annotated[
        str, typer.Option(help="Show the old again: none, images or prompts.")
    ] = LessonConfig.replay,
    replay_prompts: Annotated[
        Path | None,
        typer.Option(
            help="CSV: what the start version makes for --replay prompts.", show_default=False
        ),
    ] = None,
    replay_share: Annotated[
        float, typer.Option(help="Share of each step that is replayed.")
    ] = LessonConfig.replay_share,
    size: Annotated[
        int | None, typer.Option(help="Pixels of a side.", show_default="the generator's own")
    ] = None,
    fit: Annotated[
        str, typer.Option(help="crop the margins, or pad with black; aspect is kept.")
    ] = LessonConfig.fit,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Show half mirrored; refused where a text names a side."),
    ] = LessonConfig.mirror,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = TrainingConfig.num_steps,
    batch_size: Annotated[
        int, typer.Option(help="Images a step, over all processes.")
    ] = TrainingConfig.batch_size,
    micro_batch: Annotated[
        int, typer.Option(help="Images a backward pass: memory only.")
    ] = TrainingConfig.micro_batch,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's; adapters take ten times more.")
    ] = TrainingConfig.learning_rate,
    lr_schedule: Annotated[
        str, typer.Option(help="constant, linear or cosine.")
    ] = TrainingConfig.lr_schedule,
    warmup: Annotated[
        int, typer.Option(help="Steps in which the rate rises.")
    ] = TrainingConfig.warmup_steps,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = TrainingConfig.weight_decay,
    max_grad_norm: Annotated[
        float, typer.Option(help="Longer gradients are cut.")
    ] = TrainingConfig.max_grad_norm,
    ema: Annotated[
        float, typer.Option(help="Decay of the averaged weights; 0: none.")
    ] = TrainingConfig.ema_decay,
    lora_rank: Annotated[
        int, typer.Option(help="Rank of the adapters; 0 trains the full weights.")
    ] = TrainingConfig.lora_rank,
    lora_alpha: Annotated[
        float | None, typer.Option(help="alpha / rank scales the adapters.", show_default="rank")
    ] = None,
    lora_targets: Annotated[
        str, typer.Option(help="attention, or attention+convolutions.")
    ] = TrainingConfig.lora_targets,
    train_text_encoder: Annotated[
        bool, typer.Option("--train-text-encoder", help="Let the text encoder learn too.")
    ] = TrainingConfig.train_text_encoder,
    prediction_type: Annotated[
        str | None,
        typer.Option(help="epsilon or v_prediction.", show_default="the generator's own"),
    ] = None,
    min_snr: Annotated[
        float, typer.Option(help="Gamma of the min-SNR weights; 0: all alike.")
    ] = TrainingConfig.min_snr_gamma,
    noise_offset: Annotated[
        float, typer.Option(help="Share of noise that is one number a channel.")
    ] = TrainingConfig.noise_offset,
    input_perturbation: Annotated[
        float, typer.Option(help="Noise that goes in and is not asked back.")
    ] = TrainingConfig.input_perturbation,
    drop: Annotated[
        float, typer.Option(help="Share shown without any condition, for guidance.")
    ] = TrainingConfig.drop_conditions,
    drop_text: Annotated[
        float, typer.Option(help="Share shown without text, modality kept.")
    ] = TrainingConfig.drop_text,
    drop_modality: Annotated[
        float, typer.Option(help="Share shown without modality, text kept.")
    ] = TrainingConfig.drop_modality,
    drop_images: Annotated[
        float, typer.Option(help="Share shown without condition images.")
    ] = TrainingConfig.drop_images,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = TrainingConfig.dtype,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = TrainingConfig.gradient_checkpointing,
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations.")
    ] = TrainingConfig.validate_every,
    validation_share: Annotated[
        float, typer.Option(help="Of patients held out, where the import names no split.")
    ] = LessonConfig.validation_share,
    samples: Annotated[
        int, typer.Option(help="Images in the grid made at each validation; 0: none.")
    ] = LessonConfig.num_samples,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps that a kill may cost.")
    ] = TrainingConfig.checkpoint_every,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = TrainingConfig.seed,
    as_json: Json = False,
) -> None:
    """Fine-tune a generator on the workspace's images: a new version, its parent the start.

    Stopped at any moment, the same command goes on from the last checkpoint. Several devices:
    `accelerate launch -m cli train-generator ...`.

    Example: curate train-generator --modality OCT --steps 2000 --lora-rank 16 --learning-rate 1e-4
    """
    from curate.commands.train_generator import in_lines, run_train_generator, summary
    from curate.workspace import open_workspace

    training = TrainingConfig(
        num_steps=steps,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        lr_schedule=lr_schedule,
        warmup_steps=warmup,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        ema_decay=ema,
        lora_rank=lora_rank,
        lora_alpha=lora_alpha,
        lora_targets=lora_targets,
        train_text_encoder=train_text_encoder,
        prediction_type=prediction_type,
        min_snr_gamma=min_snr,
        noise_offset=noise_offset,
        input_perturbation=input_perturbation,
        drop_conditions=drop,
        drop_text=drop_text,
        drop_modality=drop_modality,
        drop_images=drop_images,
        dtype=dtype,
        gradient_checkpointing=gradient_checkpointing,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
        seed=seed,
    )
    lesson = LessonConfig(
        modalities=tuple(modality or ()),
        real=real,
        captioner=captioner,
        synthetic=synthetic,
        least_score=least_score,
        rated=rated,
        least_rating=least_rating,
        balance=balance,
        replay=replay,
        replay_share=replay_share,
        size=size,
        fit=fit,
        mirror=mirror,
        validation_share=validation_share,
        num_samples=samples,
    )
    with open_workspace(workspace) as ws:
        made = run_train_generator(
            ws,
            training,
            lesson,
            version=version,
            base=base,
            unet=unet,
            replay_prompts=replay_prompts,
            say=_say,
        )
        if made is None:  # another process of this training tells
            return
        if as_json:
            print_json(summary(made))
        else:
            typer.echo("\n".join(in_lines(made)))


@app.command()
def evaluate(
    images: Annotated[int, typer.Option(help="At most so many of each version.")] = 500,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Measure every generator version: judged quality, likeness to real images, variety, copies.

    Example: curate evaluate
    """
    from curate.evaluation.config import EvaluationConfig
    from curate.evaluation.table import evaluate as measure
    from curate.progress import progress
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = measure(ws, EvaluationConfig(images_per_version=images), progress)
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(found.lines()))


@app.command()
def export(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="New folder for the release.", show_default="releases/ID in the workspace"
        ),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="Prove this release instead.", show_default=False)
    ] = None,
    again: Annotated[
        int, typer.Option(help="With --verify: make so many images again from their seeds.")
    ] = 16,
    threshold: Annotated[
        float | None, typer.Option(help="Least score, 0 to 1.", show_default="0.5")
    ] = None,
    top_share: Annotated[
        float | None,
        typer.Option(help="Keep this share of the best instead, 0 to 1.", show_default=False),
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(help="Promise that this share is good, 0 to 1.", show_default=False),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="That the promise holds, 0 to 1.")
    ] = ExportConfig.confidence,
    per_modality: Annotated[
        bool, typer.Option("--per-modality", help="A promise for each modality.")
    ] = False,
    good: Annotated[
        int | None,
        typer.Option(help="Raters' consensus from which an image is good.", show_default="best"),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Campaign that a promise rests on.", show_default="the latest draw"),
    ] = None,
    per_label: Annotated[
        int | None,
        typer.Option(help="At most so many of a label, spread out.", show_default=False),
    ] = None,
    with_real: Annotated[
        bool, typer.Option("--with-real", help="Mix in the real training images.")
    ] = False,
    val_share: Annotated[
        float, typer.Option(help="For validation: whole prompts and patients.")
    ] = ExportConfig.val_share,
    test_share: Annotated[
        float, typer.Option(help="For test: whole prompts and patients.")
    ] = ExportConfig.test_share,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help=f"Too: {', '.join(FORMATS)}. Again for more.", show_default=False
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Only this generator version's images.", show_default="all"),
    ] = None,
    reward_model: Annotated[
        str, typer.Option(help="Whose scores decide: an id's start, or latest.")
    ] = "latest",
    licence: Annotated[
        str | None,
        typer.Option(
            help="Of the images, like cc-by-4.0.", show_default="the embedded model's, else none"
        ),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Export a release: vetted images, tables, card and a manifest; --verify proves one.

    --target-precision needs images that were drawn at random and rated for it; without them, or
    when no threshold keeps the promise, nothing is exported.

    Example: curate export --target-precision 0.95 --confidence 0.95 --per-label 200
    """
    if verify is not None:
        from curate.commands.export import verify as prove

        proof = prove(verify, workspace, num_again=again)
        print_json(proof.to_json()) if as_json else typer.echo("\n".join(proof.lines()))
        raise typer.Exit(0 if proof.ok else 1)
    from curate.export.release import export_release
    from curate.progress import progress
    from curate.workspace import open_workspace

    config = ExportConfig(
        threshold=threshold,
        top_share=top_share,
        target_precision=target_precision,
        confidence=confidence,
        per_modality=per_modality,
        good=good,
        calibration=calibration,
        per_label=per_label,
        with_real=with_real,
        val_share=val_share,
        test_share=test_share,
        formats=tuple(also or ()),
        version=version,
        reward_model=reward_model,
        licence=licence,
    )
    with open_workspace(workspace) as ws:
        done = export_release(ws, folder, config, progress)
    if as_json:
        print_json(done.to_json())
    else:
        typer.echo("\n".join(done.lines()))


@app.command()
def report(
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write it.", show_default="reports/report.html"),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Write the story of the workspace as one page that opens anywhere, without a network.

    Example: curate report
    """
    from curate.report import write_report
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        path = write_report(ws, out)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(f"Report: {path}")


def main() -> None:
    """Run the command line; `--debug` may stand anywhere, since it is added after an error."""
    arguments = sys.argv[1:]
    debug = ["--debug"] if "--debug" in arguments else []
    app(debug + [argument for argument in arguments if argument != "--debug"], prog_name="curate")


if __name__ == "__main__":
    main()
