"""What commands have in common: options with one meaning everywhere, and how results are shown."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

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


Campaign = Annotated[str | None, typer.Option(help="Only this one.", show_default="all campaigns")]
Version = Annotated[
    str | None,
    typer.Option(
        help="Generator version: an id or its beginning.",
        show_default="latest, or the embedded model",
    ),
]
Loop = Annotated[
    str | None,
    typer.Option("--loop", help="Do it as the next step of this loop's round.", show_default=False),
]
Steps = Annotated[int, typer.Option(help="Sampling steps.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance; 1: none.")]
Sampler = Annotated[str, typer.Option(help="ddim, dpm++ or unipc.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Ray = Annotated[
    str | None,
    typer.Option(
        help="Share the work on Ray: a cluster's HOST:PORT, auto or local (this machine).",
        show_default=False,
    ),
]
RayWorkers = Annotated[
    int | None,
    typer.Option(
        help="Processes that train together, with --ray.", show_default="all GPUs, or else all CPUs"
    ),
]


def print_json(result: Any) -> None:
    """Print a command's result for a program to read."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    """Tell a person how far it is; on stderr, so that results can be piped."""
    typer.echo(line, err=True)
