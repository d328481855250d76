"""How the site runs. Standard library only."""

from dataclasses import dataclass

from generators.config import setting


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """Where the site listens."""

    host: str = setting(
        "127.0.0.1",
        "Address to listen on; one that others reach needs accounts, and --name or --plain-http.",
    )
    port: int = setting(8095, "Port to listen on; 0: any free port.", min=0, max=65535)
    names: tuple[str, ...] = setting(
        (),
        "Host name under which a TLS reverse proxy serves the site; repeat for several.",
        option="--name",
        shown="the address itself",
    )
    plain_http: bool = setting(
        False,
        "Serve others without TLS: whoever is on the way can read passwords and pages.",
        option="--plain-http",
    )
