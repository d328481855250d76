"""How the site runs. Standard library only."""

from dataclasses import dataclass

from generators.config import setting


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """Where the site listens."""

    host: str = setting(
        "127.0.0.1", "Address to listen at; other than this machine's own needs an account."
    )
    port: int = setting(
        8095, "Port to listen at; a busy one is refused, 0 takes a free one.", min=0, max=65535
    )
    names: tuple[str, ...] = setting(
        (),
        "Name of a proxy with TLS that browsers call the site by; repeat for several.",
        option="--name",
        shown="the address itself",
    )
