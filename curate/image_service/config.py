"""How the image service runs. Standard library only."""

from dataclasses import dataclass

from generators.config import setting

VALID_DAYS = 14.0  # a study's usual length; pushing again makes new addresses


@dataclass(frozen=True, kw_only=True)
class ImageServiceConfig:
    """Where the service listens, and which pages may show its images."""

    host: str = setting("127.0.0.1", "Host to listen at.")
    port: int = setting(
        8094, "Port to listen at; a busy one is refused, 0 takes a free one.", min=0, max=65535
    )
    # like http://127.0.0.1:8090; "*": any page
    origins: tuple[str, ...] = setting(
        (),
        "Rating page that may show the images; repeat for several.",
        option="--page",
        shown="this workspace's Label Studio",
    )
