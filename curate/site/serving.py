"""The site for as long as its terminal is open."""

import signal
import sys
import threading
from collections.abc import Callable

from curate.site.app import site
from curate.site.config import SiteConfig
from curate.workspace import Workspace


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
