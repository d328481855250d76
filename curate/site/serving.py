"""The site for as long as its terminal is open."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from curate.errors import CurateError
from curate.site.accounts import read_accounts
from curate.site.app import site_app
from curate.site.config import SiteConfig
from curate.site.jobs import Jobs
from curate.site.worker import work
from curate.web.pages import Sessions
from curate.web.wsgi import listen, served
from curate.workspace import Workspace
from db import queries

THREADS = 8
MAX_BODY = 32 * 2**20  # bytes: an image to search for, a volume to try
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class RunningSite:
    """A site that answers."""

    url: str
    sign_in: Callable[[], str]  # makes an address that lets one browser in, once


@contextmanager
def site(ws: Workspace, config: SiteConfig) -> Iterator[RunningSite]:
    """Serve a workspace's pages until the block ends.

    Each request reads through a session of its own. Raises CurateError when the port is taken, and
    for an address that others reach where there are no accounts or nothing is said of TLS.
    """
    is_reached = config.host not in LOOPBACK
    if is_reached:
        _require_care(ws, config)
    listener = listen(config.host, config.port, "The site")
    port = listener.getsockname()[1]
    sessions = Sessions()
    address = f"[{config.host}]" if ":" in config.host else config.host
    names = {"127.0.0.1", "localhost", "[::1]"} | ({address} if config.plain_http else set())
    hosts = [f"{name}:{port}" for name in names]
    with (
        closing(Jobs(ws.folder, work)) as jobs,
        served(
            site_app(ws, sessions, jobs, hosts=hosts, behind_tls=config.names),
            listener,
            threads=THREADS,
            max_header=16_384,
            max_body=MAX_BODY,
        ),
    ):
        url = f"http://{address}:{port}"
        if is_reached:  # no address that lets anybody in goes over a network
            shown = url if config.plain_http else f"https://{config.names[0]}"
            yield RunningSite(shown, lambda: f"{shown}/  (with an account: `curate accounts`)")
        else:
            yield RunningSite(url, lambda: f"{url}/?token={sessions.invite('owner', may_act=True)}")


def _require_care(ws: Workspace, config: SiteConfig) -> None:
    """Refuse an address that others reach without accounts, or without a word on TLS."""
    if not read_accounts(ws.folder):
        raise CurateError(
            f"Others reach {config.host}, so people sign in with accounts, and there are none. "
            "Add one with `curate accounts add NAME --role act`."
        )
    if not config.names and not config.plain_http:
        raise CurateError(
            f"Others reach {config.host}, and the site itself speaks no TLS: put a proxy before it "
            "and name its host with `--name`, or give `--plain-http` where nobody listens."
        )
    if config.plain_http and config.host in ("0.0.0.0", "::"):
        raise CurateError(
            f"With `--plain-http`, give the address that browsers use, not {config.host}: "
            "requests under other names are refused."
        )


def serve_site(ws: Workspace, config: SiteConfig, *, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; each Enter in the terminal makes another sign-in address."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with site(ws, config) as running:
        queries.standings.catch_up(ws.session)
        ws.session.commit()  # no transaction stays open while others work
        on_loopback = config.host in LOOPBACK
        how = ", for one sign-in (Enter makes another, Ctrl-C stops)" if on_loopback else ""
        say(f"{ws.folder.name} in a browser{how}:")
        say(f"  {running.sign_in()}")
        if sys.stdin.isatty() and on_loopback:
            threading.Thread(target=_invite, args=(running.sign_in, say), daemon=True).start()
        try:
            ended.wait()
        except KeyboardInterrupt:
            say("Stopped.")


def _invite(sign_in: Callable[[], str], say: Callable[[str], None]) -> None:
    for _ in sys.stdin:
        say(f"  {sign_in()}")
