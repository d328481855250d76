"""`curate serve`."""

from pathlib import Path

import typer

from curate.commands.shared import Workspace
from curate.settings import takes_settings
from curate.site.config import SiteConfig


@takes_settings
def serve(config: SiteConfig, workspace: Workspace = Path(".")) -> None:
    """Show the workspace in a browser: images, rounds, studies and releases.

    Example: curate serve
    """
    from curate.site.serving import serve_site
    from curate.workspace import open_workspace

    with open_workspace(workspace) as ws:
        serve_site(ws, config, say=typer.echo)
