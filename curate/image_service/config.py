"""How the image service runs. Standard library only."""

from dataclasses import dataclass

VALID_DAYS = 14.0  # a study's usual length; pushing again makes new addresses


@dataclass(frozen=True, kw_only=True)
class ImageServiceConfig:
    """Where the service listens, and which pages may show its images."""

    host: str = "127.0.0.1"
    port: int = 8094  # 0: any free one
    origins: tuple[str, ...] = ()  # of the rating page, like http://127.0.0.1:8090; "*": any page
