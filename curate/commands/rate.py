"""`curate rate`: campaigns with simulated raters or people, their answers, what these are worth."""

import os
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.rate_people import people, read_token
from curate.commands.rate_practice import practice
from curate.commands.rate_raters import raters
from curate.commands.shared import Campaign, Json, Loop, Workspace, table, tell
from curate.rating.config import BudgetOptions, MachineOptions, SimulateOptions
from curate.settings import takes_settings

rate = typer.Typer(
    no_args_is_help=True, help="Campaigns: ask raters, fetch and judge their answers."
)
rate.add_typer(people)
rate.add_typer(raters, name="raters")
rate.add_typer(practice, name="practice")


@rate.command()
@takes_settings
def simulate(
    options: SimulateOptions,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Let simulated raters rate images that no campaign has shown; marked as simulated everywhere.

    Stopped anywhere, the same command resumes.

    Example: curate rate simulate --images 400 --overlap 3
    """
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        if loop is None:
            from curate.rating.simulate import simulate as let_rate

            done = let_rate(ws, options)
        else:
            from curate.loop.by_hand import simulate_for

            done = simulate_for(ws, loop, options)
    lines = [line for campaign in done for line in campaign.lines()]
    tell(as_json, [campaign.to_json() for campaign in done], lines)


@rate.command()
@takes_settings
def plan(options: BudgetOptions, workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """Say how many ratings a release's promise needs: chance, images kept, hours of raters.

    From the ratings and scores so far. With --rise, how many raters and images a gate needs.
    Nothing is written.

    Example: curate rate plan --target-precision 0.95
    """
    from curate.workspace import read_workspace

    with read_workspace(workspace) as ws:
        if options.rise is not None:
            from curate.loop.gate_plan import plan_gate

            gate = plan_gate(ws, options, options.rise)
            tell(as_json, gate.to_json(), gate.lines())
            return
        from curate.rating.budget import plan_ratings

        budget = plan_ratings(ws, options)
    tell(as_json, budget.to_json(), budget.lines())


@rate.command()
@takes_settings
def machine(
    campaign: Annotated[str, typer.Argument(help="Campaign whose images are to be rated.")],
    options: MachineOptions,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Let a vision-language model rate a campaign's images; never counted as a person.

    Stopped anywhere, the same command resumes and asks nothing twice.

    Example: curate rate machine first --url http://127.0.0.1:8000/v1 --model qwen3-vl
    """
    from dataclasses import replace

    from curate.rating.machine import rate_by_machine
    from curate.workspace import open_workspace

    key = (
        os.environ.get("CURATE_MACHINE_KEY")
        if options.key is None
        else read_token(options.key, "--key")
    )
    with open_workspace(workspace) as ws:
        done = rate_by_machine(ws, campaign, replace(options, key=key))
    tell(as_json, done.to_json(), done.lines())


@rate.command("import")
def import_ratings(
    table: Annotated[
        Path, typer.Argument(help="CSV: image_path,rating,modality,expert_level,prompt.")
    ],
    rater: Annotated[
        str | None,
        typer.Option(help="Rater, if the file names none.", show_default=False),
    ] = None,
    campaign: Annotated[
        str | None,
        typer.Option(help="Campaign, if the file names none.", show_default="the file's name"),
    ] = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Import ratings from MINIM's CSV; bad lines are skipped and listed. Twice adds nothing.

    Example: curate rate import ratings.csv --rater "Dr. Lee"
    """
    from dataclasses import asdict

    from curate.rating.files import import_ratings as take_file
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        done = take_file(ws, table, rater=rater, campaign=campaign)
    taken = done.taken
    lines = [
        *(str(bad) for bad in done.bad),
        f"{taken.new} ratings new, {taken.revised} revised, {taken.unchanged} known already, "
        f"{len(done.bad)} lines refused; campaigns: {', '.join(done.campaigns) or 'none'}",
    ]
    tell(as_json, asdict(done), lines)
    if done.bad and not (taken.new or taken.revised or taken.unchanged):
        raise typer.Exit(1)


@rate.command("export")
def export_ratings(
    table: Annotated[
        Path, typer.Argument(help="CSV to write; its images go into a folder beside it.")
    ],
    campaign: Campaign = None,
    workspace: Workspace = Path("."),
) -> None:
    """Write ratings as MINIM's CSV, with columns added for the rater and whether it is simulated.

    Example: curate rate export ratings.csv
    """
    from curate.rating.files import export_ratings as write_file
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        num_ratings = write_file(ws, table, campaign=campaign)
    typer.echo(f"{num_ratings} ratings in {table}")


@rate.command("status")
def rate_status(
    campaign: Campaign = None, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Show the progress of each campaign, or of each rater of one.

    Example: curate rate status --campaign first
    """
    from curate.rating.report import campaign_rows
    from curate.workspace import open_workspace

    if campaign is not None:
        _show_raters_progress(campaign, workspace, as_json)
        return
    with open_workspace(workspace) as ws:
        rows = campaign_rows(ws)
    numbers = ("raters", "images", "overlap", "answered", "assigned")
    before = ("passed practice",) if any(row["practice"] for row in rows) else ()
    lines = table(
        ("campaign", "raters are", *numbers, *before),
        [
            (
                row["campaign"],
                row["raters_are"],
                *(row[column] for column in numbers),
                *(
                    f"{row['practice']['passed']} of {row['raters']}" if row["practice"] else "-"
                    for _ in before
                ),
            )
            for row in rows
        ],
    )
    none = ["No campaign yet. Make one with `curate rate simulate` or `curate rate import`."]
    tell(as_json, rows, lines if rows else none)


def _show_raters_progress(campaign: str, workspace: Path, as_json: bool) -> None:
    from curate.rating.answers import find_campaign
    from curate.rating.progress import rater_progress
    from curate.workspace import open_workspace
    from db.models import kind_of

    with open_workspace(workspace) as ws:
        rows = rater_progress(ws, find_campaign(ws, campaign).id)
    before = ("practice",) if any(row.practice for row in rows) else ()
    lines = table(
        ("rater", "is", "answered", "assigned", "median s", "minutes left", *before),
        [
            (
                row.rater,
                kind_of(row.rater, simulated=row.simulated),
                row.done,
                row.total,
                "-" if row.median_s is None else f"{row.median_s:.1f}",
                "-" if row.seconds_left is None else f"{row.seconds_left / 60:.0f}",
                *(row.practice.line() if row.practice else "-" for _ in before),
            )
            for row in rows
        ],
    )
    tell(as_json, [row.to_json() for row in rows], lines)


@rate.command("agreement")
def show_agreement(
    campaign: Campaign = None, workspace: Workspace = Path("."), as_json: Json = False
) -> None:
    """Show what ratings are worth: agreement, severity, controls, real or synthetic, pace.

    Every figure has its 95 % interval, or says why it has none: see docs/agreement.md.

    Example: curate rate agreement --campaign loop-round-1
    """
    from curate.agreement.worth import ratings_worth
    from curate.commands.rate_agreement import worth_lines
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = ratings_worth(ws, campaign)
    tell(as_json, [group.to_json() for group in found], worth_lines(found))
