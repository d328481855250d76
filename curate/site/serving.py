"""The site for as long as its terminal is open."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from curate.errors import CurateError
from curate.site.app import site_app
from curate.site.config import SiteConfig
from curate.web.pages import Sessions
from curate.web.wsgi import listen, served
from curate.workspace import Workspace

THREADS = 8
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class RunningSite:
    """A site that answers."""

    url: str
    sign_in: Callable[[], str]  # makes an address that lets one browser in, once


@contextmanager
def site(ws: Workspace, config: SiteConfig) -> Iterator[RunningSite]:
    """Serve a workspace's pages until the block ends.

    Each request reads through a session of its own. Raises CurateError when the port is taken, or
    for an address that others on the network reach.
    """
    if config.host not in LOOPBACK:
        raise CurateError(
            f"The site listens on this machine only, not on {config.host}: put a proxy with TLS "
            "and accounts before it, and name it with `--name`."
        )
    listener = listen(config.host, config.port, "The site")
    port = listener.getsockname()[1]
    sessions = Sessions()
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    app = site_app(ws, sessions, hosts=hosts, behind_tls=config.names)
    with served(app, listener, threads=THREADS, max_header=16_384, max_body=65_536):
        url = f"http://{'[::1]' if config.host == '::1' else config.host}:{port}"
        yield RunningSite(url, lambda: f"{url}/?token={sessions.invite('owner', may_act=True)}")


def serve_site(ws: Workspace, config: SiteConfig, *, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; each Enter in the terminal makes another sign-in address."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with site(ws, config) as running:
        ws.session.commit()  # no transaction stays open while others work
        say(f"{ws.folder.name} in a browser, for one sign-in (Enter makes another, Ctrl-C stops):")
        say(f"  {running.sign_in()}")
        if sys.stdin.isatty():
            threading.Thread(target=_invite, args=(running.sign_in, say), daemon=True).start()
        try:
            ended.wait()
        except KeyboardInterrupt:
            say("Stopped.")


def _invite(sign_in: Callable[[], str], say: Callable[[str], None]) -> None:
    for _ in sys.stdin:
        say(f"  {sign_in()}")
