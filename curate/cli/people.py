"""Rating studies with people: Label Studio, pictures, tasks, answers, accounts."""

from pathlib import Path
from typing import Annotated

import typer

from annotation.config import ServerConfig
from curate.cli.shared import Campaign, Json, Loop, Workspace, print_json
from curate.image_service.config import ImageServiceConfig

commands = typer.Typer()


@commands.command("serve")
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
    host: Annotated[str, typer.Option(help="Where raters reach it.")] = ServerConfig.host,
    port: Annotated[int, typer.Option(help="A busy one is refused.")] = ServerConfig.port,
    address: Annotated[
        str | None,
        typer.Option(
            help="What raters are told, like https://labels.example.org.",
            show_default="host and port",
        ),
    ] = None,
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
        server=ServerConfig(host=host, port=port),
        address=address,
        url=url,
        token=commands.read_token(token),
    )
    with open_workspace(workspace) as ws:
        commands.serve_until_stopped(ws, options, typer.echo)


@commands.command("stop")
def rate_stop(workspace: Workspace = Path(".")) -> None:
    """End this workspace's `curate rate serve`, wherever it runs on this machine.

    Example: curate rate stop
    """
    from curate.rating.server import stop_serving
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        stopped = stop_serving(ws)
    typer.echo("Stopped." if stopped else "Nothing was running.")


@commands.command("images")
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


@commands.command()
def push(
    name: Annotated[
        str | None,
        typer.Option(
            help="Of the campaign; a known one is completed.", show_default="with --loop: its own"
        ),
    ] = None,
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
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Ask people about images, blind, in Label Studio. Again: only what is missing is sent.

    Example: curate rate push --name first --images 200
    """
    from curate.commands import rate_people as commands
    from curate.errors import CurateError
    from curate.rating.plan import PushOptions
    from curate.workspace import open_workspace

    if name is None and loop is None:
        raise CurateError("A campaign needs a name: --name, or --loop for a loop's round.")
    options = PushOptions(
        name=name or "",
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
        if loop is None:
            pushed = commands.push(ws, options, images_from=images_from)
        else:
            from curate.commands.by_hand import push_for

            pushed = push_for(ws, loop, options, images_from=images_from)
    if as_json:
        print_json(pushed.to_json())
    else:
        typer.echo("\n".join(pushed.lines()))


@commands.command()
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
commands.add_typer(raters_group, name="raters")


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
