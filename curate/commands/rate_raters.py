"""`curate rate raters`: who rates, and how."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Campaign, Json, Workspace, table, tell

raters = typer.Typer(invoke_without_command=True)


@raters.callback()
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
    from curate.rating.report import rater_rows
    from curate.workspace import open_workspace
    from db.models import kind_of

    with open_workspace(workspace) as ws:
        rows = rater_rows(ws, campaign)
    lines = table(
        ("rater", "is", "level", "ratings", "mean", "severity", "top share", "repeats equal"),
        [
            (
                row.summary.rater,
                kind_of(row.summary.rater, simulated=row.simulated),
                row.expert_level,
                row.summary.num_ratings,
                f"{row.summary.mean:.2f}",
                "-" if row.summary.severity is None else f"{row.summary.severity:+.2f}",
                f"{100 * row.summary.top_share:.0f} %",
                "-" if row.own_exact is None else f"{100 * row.own_exact:.0f} %",
            )
            for row in rows
        ],
    )
    tell(as_json, [row.to_json() for row in rows], lines if rows else ["No ratings yet."])


@raters.command("invite")
def invite_rater(
    email: Annotated[
        str, typer.Argument(help="The person's e-mail address; it stays in the workspace.")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Pseudonym to use in all tables.", show_default="reader-1, -2 ..."),
    ] = None,
    level: Annotated[
        int,
        typer.Option(help="Level of experience, from 1 (trainee) to 3 (specialist).", min=1, max=3),
    ] = 3,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Give a person an account to rate with. Run again, it sets a new password.

    Example: curate rate raters invite lee@hospital.org --level 3
    """
    from dataclasses import asdict

    from curate.rating.people import invite
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        person, invitation = invite(ws, email, name=name, expert_level=level, say=typer.echo)
    lines = [
        f"{person.name} (level {person.expert_level}) is invited. Send to {person.email}:",
        f"  address   {invitation.url}",
    ]
    if invitation.password:  # shown this once
        lines += [f"  e-mail    {invitation.email}", f"  password  {invitation.password}"]
    tell(as_json, asdict(person) | asdict(invitation), lines)


@raters.command("list")
def list_raters(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List the people who were invited.

    Example: curate rate raters list
    """
    from curate.rating.people import people
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        found = people(ws)
    lines = table(
        ("rater", "e-mail", "level", "active"),
        [
            (person.name, person.email, person.expert_level, "yes" if person.is_active else "no")
            for person in found
        ],
    )
    none = ["Nobody yet. Invite people with `curate rate raters invite`."]
    tell(as_json, [person.to_json() for person in found], lines if found else none)


@raters.command("deactivate")
def deactivate_rater(
    name: Annotated[str, typer.Argument(help="The rater's pseudonym.")],
    workspace: Workspace = Path("."),
) -> None:
    """Stop asking a person and close the account; their ratings stay and count.

    Example: curate rate raters deactivate reader-1
    """
    from curate.rating.people import deactivate
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        person = deactivate(ws, name, say=typer.echo)
    typer.echo(f"{person.name} will not be asked again.")
