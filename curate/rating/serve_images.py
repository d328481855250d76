"""The image service by itself, for raters on other machines."""

from collections.abc import Callable
from dataclasses import replace
from threading import Event

from annotation.label_studio.access import read_access
from curate.errors import CurateError
from curate.image_service.config import ImageServiceConfig
from curate.image_service.server import image_service
from curate.rating.label_studio import access_path
from curate.workspace import Workspace


def serve_images(
    ws: Workspace, config: ImageServiceConfig, *, say: Callable[[str], None], stop: Event
) -> None:
    """Serve until `stop` is set. Raises CurateError when no rating page is known."""
    if not config.origins:
        access = read_access(access_path(ws))
        if access is None:
            raise CurateError(
                "No rating page is known, and images are served only to known pages. Name one: "
                "`curate rate images --page https://label-studio.example.org`."
            )
        config = replace(config, origins=(access.page.rstrip("/"),))
    with image_service(ws, config) as service:
        say(
            f"Images are at {service.url} for {', '.join(config.origins)}. "
            "Name it, or the address under which raters reach it, in "
            "`curate rate push --images-from`. Ctrl-C stops it."
        )
        stop.wait()
