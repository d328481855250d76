"""Make images, and watch what makes them."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import (
    Device,
    Guidance,
    Json,
    Loop,
    Ray,
    Sampler,
    Steps,
    Version,
    Workspace,
    print_json,
    say,
)

commands = typer.Typer()
runs = typer.Typer(
    no_args_is_help=True, help="Runs and trainings of generators: watch, pause, stop."
)
commands.add_typer(runs, name="runs")


@commands.command()
def generate(
    prompts: Annotated[
        Path | None,
        typer.Option(help="CSV: modality,text and optionally label,count.", show_default=False),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="CSV of clinical records, by patient or image.", show_default=False),
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
    version: Version = None,
    base: Annotated[
        str | None,
        typer.Option(help="A Stable Diffusion 1.x folder or hub name.", show_default=False),
    ] = None,
    unet: Annotated[
        str | None, typer.Option(help="A separate U-Net folder for --base.", show_default=False)
    ] = None,
    steps: Steps = 20,
    guidance: Guidance = 1.0,
    sampler: Sampler = "ddim",
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
    device: Device = "auto",
    ray: Ray = None,
    from_manifest: Annotated[
        Path | None,
        typer.Option(help="A release: make its images again, into --out.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for --from-manifest.", show_default=False)
    ] = None,
    loop: Loop = None,
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
            records=records,
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
        if loop is None:
            made = generate_images(ws, options)
        else:
            from curate.commands.by_hand import generate_for

            made = generate_for(ws, loop, options)
    if as_json:
        print_json(made.to_json())
    else:
        typer.echo("\n".join(made.lines()))
    raise typer.Exit(0 if made.is_whole else 1)


@commands.command()
def benchmark(
    version: Version = None,
    steps: Steps = 20,
    guidance: Guidance = 1.0,
    sampler: Sampler = "ddim",
    device: Device = "auto",
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
            say=say,
        )
    if as_json:
        print_json(describe(found))
    else:
        typer.echo("\n".join(lines(found)))


WorkingRun = Annotated[
    str | None, typer.Argument(help="The run's first digits.", show_default="the one at work")
]


@runs.command("list")
def list_runs(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List what `generate` and `train-generator` do and did here: progress, rate, time left.

    Example: curate runs list
    """
    from curate.commands.runs import lines, states

    found = states(workspace)
    if as_json:
        print_json([state.to_json() for state in found])
    else:
        typer.echo("\n".join(lines(found)))


@runs.command()
def pause(run: WorkingRun = None, workspace: Workspace = Path(".")) -> None:
    """Let a working run or training wait after its present batch or step.

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
    """End a working run or training after its present batch or step; the same command goes on.

    Example: curate runs stop
    """
    from curate.commands.runs import ask_run

    typer.echo(ask_run(workspace, run, "stop"))
