"""`curate rate serve`: Label Studio, the receiver of its webhooks, and the pull, as one command.

With an address given, Label Studio is somebody else's and only curate's own parts run here.
"""

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from annotation.config import LOOPBACK, ServerConfig
from annotation.errors import AnnotationError
from annotation.label_studio.access import (
    TOKEN_VARIABLE,
    Access,
    new_access,
    read_access,
)
from annotation.label_studio.backend import LabelStudioBackend
from annotation.label_studio.environment import ensure_environment, environment_folder
from annotation.label_studio.gateway import gateway_app
from annotation.label_studio.server import (
    ManagedServer,
    database_to_use,
    free_port,
    start_server,
)
from annotation.label_studio.webhooks import webhook_app
from curate.errors import CurateError
from curate.rating.config import ServeOptions
from curate.rating.label_studio import (
    BACKEND,
    access_path,
    label_studio_backend,
    server_folder,
    write_access,
)
from curate.rating.practice_page.door import PracticeDoor
from curate.rating.pull import Fetched, campaigns_of_people, pull_campaign
from curate.rating.send import send_to_who_passed, study_of
from curate.web.wsgi import listen, served
from curate.workspace import Workspace

Say = Callable[[str], None]
PULL_EVERY_S = 30.0  # without a hint
PULL_ALL_EVERY_S = 3600.0  # a full reading: what no filter can tell
STOP_S = 30.0
MAX_HINT = 1_048_576  # bytes; nobody reads them
GATEWAY_THREADS = 16  # a rater's browser fetches some things at once
MAX_ANSWER = 1_048_576  # bytes
MAX_COOKIES = 32_768  # bytes of headers; Label Studio keeps its session in a cookie


def serve(ws: Workspace, options: ServeOptions, *, say: Say, stop: threading.Event) -> None:
    """Run until `stop` is set; every part ends with the block, also on an error.

    Raises CurateError or AnnotationError when a part cannot start.
    """
    with ExitStack() as parts:
        parts.enter_context(_pid_file(server_folder(ws) / "serve.pid"))
        woken = threading.Event()
        access, server = _reach(ws, options, parts, say, woken)
        receiver = parts.enter_context(webhook_receiver(access.webhook_secret, woken))
        backend = LabelStudioBackend(access)
        for campaign in campaigns_of_people(ws, [BACKEND], ()):
            backend.send_hints(study_of(ws, campaign), receiver)
        write_access(access_path(ws), replace(access, webhook_url=receiver))
        say(f"Raters log in at {access.page}. Ctrl-C stops it.")
        watch(
            ws,
            woken,
            stop,
            every_s=PULL_EVERY_S,
            say=say,
            is_alive=lambda: server is None or server.is_running(),
        )


def stop_serving(ws: Workspace) -> bool:
    """End the workspace's `serve`, wherever it runs on this machine; return whether one ran."""
    folder = server_folder(ws)
    pid = _running(folder / "serve.pid")
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if _running(folder / "serve.pid") is None:
            return True
        time.sleep(0.1)
    raise CurateError(f"Process {pid} was told to stop but is still running after {STOP_S:.0f} s.")


def watch(
    ws: Workspace,
    woken: threading.Event,
    stop: threading.Event,
    *,
    every_s: float,
    say: Say,
    is_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Pull whenever woken and every `every_s` seconds until `stop`; what fails is tried again."""
    read_all_at, sent = 0.0, set[tuple[UUID, str]]()
    while not stop.is_set():
        if not is_alive():
            raise CurateError(
                f"Label Studio exited unexpectedly. Its log is in {server_folder(ws)}."
            )
        everything = time.monotonic() - read_all_at > PULL_ALL_EVERY_S
        if pull_once(ws, everything=everything, say=say, sent=sent) and everything:
            read_all_at = time.monotonic()
        deadline = time.monotonic() + every_s
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if woken.wait(min(left, 0.5)):
                break
        woken.clear()


def pull_once(ws: Workspace, *, everything: bool, say: Say, sent: set[tuple[UUID, str]]) -> bool:
    """Pull all campaigns of people; say what came, or in one line what went wrong.

    Who has passed a practice meanwhile is sent what comes after it: `sent` notes whose were.
    """
    try:
        backend = label_studio_backend(ws)  # anew: raters may have been invited meanwhile
        for campaign in campaigns_of_people(ws, BACKEND, ()):
            if num := send_to_who_passed(ws, campaign, backend, sent):
                say(f"{campaign.name}: {num} tasks for raters who have passed the practice")
            fetched = pull_campaign(ws, campaign, backend, everything=everything)
            for line in news(fetched):
                say(line)
    except (AnnotationError, CurateError) as error:
        ws.session.rollback()
        say(f"The pull failed and will be retried: {error}")
        return False
    ws.session.commit()
    return True


def news(fetched: Fetched) -> list[str]:
    """Return what a pull brought that is worth a line."""
    taken = fetched.taken
    lines = [f"{fetched.campaign}: {warning}" for warning in fetched.warnings]
    if taken.new or taken.revised or taken.quarantined:
        lines.append(
            f"{fetched.campaign}: {taken.new} new, {taken.revised} revised, "
            f"{taken.quarantined} quarantined"
        )
    return lines


@contextmanager
def webhook_receiver(secret: str, woken: threading.Event) -> Iterator[str]:
    """Listen for hints on a free port of this machine; yield the address."""
    listener = listen(LOOPBACK, 0, "The receiver of hints")
    port = listener.getsockname()[1]
    app = webhook_app(secret, woken.set)
    with served(app, listener, threads=2, max_body=MAX_HINT):
        yield f"http://{LOOPBACK}:{port}"


def _reach(
    ws: Workspace, options: ServeOptions, parts: ExitStack, say: Say, woken: threading.Event
) -> tuple[Access, ManagedServer | None]:
    """Return somebody else's server where the command or an earlier one names it, else our own."""
    kept = read_access(access_path(ws)) if options.url is None else None
    if options.url is not None:
        token = options.token or os.environ.get(TOKEN_VARIABLE)
        if not token:
            raise CurateError(
                f"No token for {options.url}. Put it into a file and name that with --token, or "
                f"into the environment variable {TOKEN_VARIABLE}."
            )
        kept = Access(
            url=options.url.rstrip("/"),
            token=token,
            page_url=(options.address or "").rstrip("/"),
            webhook_secret=secrets.token_urlsafe(32),
        )
    if kept is None or kept.managed:
        return _start_managed(ws, options, kept, parts, say, woken)
    health = LabelStudioBackend(kept).health()
    if not health.is_up:
        raise CurateError(health.message)
    write_access(access_path(ws), kept)
    return kept, None


def _start_managed(
    ws: Workspace,
    options: ServeOptions,
    kept: Access | None,
    parts: ExitStack,
    say: Say,
    woken: threading.Event,
) -> tuple[Access, ManagedServer]:
    listener = listen(options.server.host, options.server.port, "The rating page")
    parts.callback(listener.close)
    inner = ServerConfig(port=free_port())  # on loopback, whatever raters reach
    page = (options.address or options.server.url).rstrip("/")
    access = replace(
        kept or new_access(inner.url),
        url=inner.url,
        page_url=page,
        database=database_to_use(os.environ, kept),
    )
    write_access(access_path(ws), access)  # before the start: the server remembers its first token
    python = ensure_environment(environment_folder(), say=say)
    say("Starting Label Studio (half a minute the first time)")
    server = start_server(python, server_folder(ws), inner, access)
    parts.callback(server.stop)
    gateway = gateway_app(inner.url, address=page, ours=PracticeDoor(ws, woken.set))
    limits = {"max_header": MAX_COOKIES, "max_body": MAX_ANSWER}
    parts.enter_context(served(gateway, listener, threads=GATEWAY_THREADS, **limits))
    return access, server


@contextmanager
def _pid_file(path: Path) -> Iterator[None]:
    running = _running(path)
    if running is not None:
        raise CurateError(
            f"This workspace is already being served by process {running}. Stop it with `curate "
            "rate stop`."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n", encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _running(path: Path) -> int | None:
    """Return the process of the file when it is alive and a `serve`."""
    try:
        pid = int(path.read_text(encoding="utf-8"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"serve" in command else None
