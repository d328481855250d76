"""What leaves the workspace, and how good it is."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.shared import Json, Workspace, print_json
from curate.release.config import FORMATS, ExportConfig

commands = typer.Typer()


@commands.command()
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


@commands.command()
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
    spread_penalty: Annotated[
        float, typer.Option(help="Take so many spreads off each score before it decides.")
    ] = ExportConfig.spread_penalty,
    with_real: Annotated[
        bool, typer.Option("--with-real", help="Mix in the real training images.")
    ] = False,
    real_share: Annotated[
        float | None,
        typer.Option(
            help="With --with-real: at most this share of the release.", show_default="all of them"
        ),
    ] = None,
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
    from curate.progress import progress
    from curate.release.publish import export_release
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
        spread_penalty=spread_penalty,
        with_real=with_real or real_share is not None,
        real_share=real_share,
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


@commands.command()
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
