"""How the image service runs. Standard library only."""

from dataclasses import dataclass

from generators.config import setting

VALID_DAYS = 14.0  # a study's usual length; pushing again makes new addresses


@dataclass(frozen=True, kw_only=True)
class ImageServiceConfig:
    """Where the service listens, and which pages may show its images."""

    host: str = setting("127.0.0.1", "Host or address to listen on.")
    port: int = setting(8094, "Port to listen on; 0: any free port.", min=0, max=65535)
    # like http://127.0.0.1:8090; "*": any page
    origins: tuple[str, ...] = setting(
        (),
        "Address of a rating page that may show the images; repeat for several.",
        option="--page",
        shown="this workspace's Label Studio",
    )
