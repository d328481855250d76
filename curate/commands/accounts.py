"""`curate accounts`: who may sign in to `curate serve` with a password."""

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import Json, Workspace, table, tell

accounts = typer.Typer(
    no_args_is_help=True, help="Who may sign in to `curate serve` with a password."
)
Name = Annotated[str, typer.Argument(help="Name or e-mail address to sign in with.")]


@accounts.command("add")
def add(
    name: Name,
    role: Annotated[
        str, typer.Option(help="look: see all pages; act: also run, keep and make studies.")
    ] = "look",
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Add an account to the site. Run again, it sets a new password and the role.

    Example: curate accounts add lee@hospital.org --role act
    """
    from curate.site.accounts import add_account, studies_in_the_way
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        password = add_account(ws, name, role)
        studies = studies_in_the_way(ws, name)
    lines = [f"{name} may {role}. Shown this once:", f"  password  {password}"]
    if studies:
        lines.append(f"Not let in while this study of theirs is open: {', '.join(studies)}.")
    tell(as_json, {"name": name, "role": role, "password": password, "studies": studies}, lines)


@accounts.command("list")
def show(workspace: Workspace = Path("."), as_json: Json = False) -> None:
    """List the accounts, and the open studies that keep one out.

    Example: curate accounts list
    """
    from curate.site.accounts import read_accounts, studies_in_the_way
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        rows = [
            (account.name, account.role, ", ".join(studies_in_the_way(ws, account.name)))
            for account in read_accounts(ws.folder).values()
        ]
    header = ("account", "role", "kept out by")
    none = ["No accounts. Add one with `curate accounts add`."]
    plain = [dict(zip(header, row, strict=True)) for row in rows]
    tell(as_json, plain, table(header, rows) if rows else none)


@accounts.command("remove")
def remove(name: Name, workspace: Workspace = Path(".")) -> None:
    """Remove an account; a browser that is signed in with it is let in no more.

    Example: curate accounts remove lee@hospital.org
    """
    from curate.site.accounts import remove_account
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        remove_account(ws, name)
    typer.echo(f"{name} is removed.")
