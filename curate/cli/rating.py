"""Rating studies: simulated raters, files, how far and how good."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli import people
from curate.cli.shared import Campaign, Json, Loop, Workspace, print_json

commands = typer.Typer()
rate = typer.Typer(
    no_args_is_help=True, help="Campaigns: ask raters, fetch and judge their answers."
)
commands.add_typer(rate, name="rate")
rate.add_typer(people.commands)


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
    loop: Loop = None,
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
        if loop is None:
            done = commands.simulate(ws, options)
        else:
            from curate.commands.by_hand import simulate_for

            done = simulate_for(ws, loop, options)
    if as_json:
        print_json([campaign.to_json() for campaign in done])
    else:
        typer.echo("\n".join(line for campaign in done for line in campaign.lines()))


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
