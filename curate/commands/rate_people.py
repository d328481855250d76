"""`curate rate` with people: Label Studio, pictures, tasks and answers."""

import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.shared import DryRun, Json, Loop, Workspace, tell
from curate.errors import CurateError
from curate.image_service.config import ImageServiceConfig
from curate.rating.config import Pictures, PushOptions, ServeOptions
from curate.settings import takes_settings

people = typer.Typer()


@people.command()
@takes_settings
def serve(options: ServeOptions, workspace: Workspace = Path(".")) -> None:
    """Run Label Studio for this workspace's raters and pull what they answer, until Ctrl-C.

    The first start makes an environment for Label Studio (a minute, 1 GB).

    Example: curate rate serve
    """
    options = replace(options, token=read_token(options.token))
    from curate.rating.server import serve as serve_raters
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        serve_raters(ws, options, say=typer.echo, stop=stop_at_a_signal())


@people.command()
def stop(workspace: Workspace = Path(".")) -> None:
    """Stop this workspace's `curate rate serve`, wherever it runs on this machine.

    Example: curate rate stop
    """
    from curate.rating.server import stop_serving
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        stopped = stop_serving(ws)
    typer.echo("Stopped." if stopped else "Nothing was running.")


@people.command()
@takes_settings
def images(config: ImageServiceConfig, workspace: Workspace = Path(".")) -> None:
    """Serve raters' images at signed addresses that expire, until Ctrl-C: for teams.

    Listens on this machine only; put a TLS reverse proxy in front of it. Not needed on one machine.

    Example: curate rate images --page https://label-studio.example.org
    """
    from curate.rating.serve_images import serve_images
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        serve_images(ws, config, say=typer.echo, stop=stop_at_a_signal())


@people.command()
@takes_settings
def push(
    options: PushOptions,
    pictures: Pictures,
    dry_run: DryRun = False,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Ask people to rate images, blind, in Label Studio. Run again, it sends only what is missing.

    Example: curate rate push --name first --images 200
    """
    if not options.name and loop is None:
        raise CurateError("A campaign needs a name: --name, or --loop for a loop's round.")
    from curate.workspace import dry_workspace, open_workspace

    if dry_run:
        from curate.rating.foresee import would_push

        with dry_workspace(workspace) as ws:
            if loop is not None:
                from curate.loop.by_hand import push_of_round

                _, options = push_of_round(ws, loop, options)
            foreseen = would_push(ws, options)
        tell(as_json, foreseen.to_json(), foreseen.lines())
        return
    with open_workspace(workspace) as ws:
        if loop is None:
            from curate.rating.send import push as ask_people

            pushed = ask_people(ws, options, images_from=pictures.images_from)
        else:
            from curate.loop.by_hand import push_for

            pushed = push_for(ws, loop, options, images_from=pictures.images_from)
    tell(as_json, pushed.to_json(), pushed.lines())


@people.command()
def pull(
    campaign: Annotated[
        list[str] | None,
        typer.Option(help="Fetch this campaign only; repeat for several.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Read all answers again, not only what has changed.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep pulling until Ctrl-C.")] = False,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fetch people's answers; safe to repeat: nothing is lost or duplicated.

    Example: curate rate pull
    """
    from dataclasses import asdict

    from curate.loop.raters import note_whole_campaigns
    from curate.rating.pull import pull as fetch
    from curate.rating.server import PULL_EVERY_S, news
    from curate.rating.server import watch as pull_again_and_again
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        if watch:
            pull_again_and_again(
                ws, threading.Event(), stop_at_a_signal(), every_s=PULL_EVERY_S, say=typer.echo
            )
            return
        fetched = fetch(ws, campaign or (), everything=everything)
        note_whole_campaigns(ws)
    lines = [
        line for entry in fetched for line in news(entry) or [f"{entry.campaign}: nothing new"]
    ]
    none = ["No campaign of people yet. Make one with `curate rate push`."]
    tell(as_json, [asdict(entry) for entry in fetched], lines if fetched else none)


def stop_at_a_signal() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that everything ends in order."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def read_token(source: str | None, option: str = "--token") -> str | None:
    """Read a token from a file, or from the standard input for "-".

    A token on the command line would stand in the process list and the shell's history.
    """
    if source is None:
        return None
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # the value is not repeated: it may be the token itself
        raise CurateError(
            f"{option} takes the name of a file that holds the token, or - for the standard input; "
            "no such file can be read. (A token typed here would be seen by others.)"
        ) from None
    return text.strip()
