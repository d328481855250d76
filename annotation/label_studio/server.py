"""The managed server: Label Studio as a process of its own, its data inside the workspace."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from annotation.config import LABEL_STUDIO_VERSION, LOOPBACK, ServerConfig
from annotation.errors import AnnotationError
from annotation.label_studio.access import Access
from annotation.label_studio.inside import curate_server

FIRST_START_S = 600  # migrations on a busy machine; 24 s on an idle one
POLL_S = 0.2
STOP_S = 15
# What Label Studio reads from its surroundings. Stray ones (PORT, DEBUG, USERNAME) would leak in.
ITS_PREFIXES = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_SETTINGS_MODULE")
DATABASE = ("DJANGO_DB", "POSTGRE_")  # spelled without an S
STRAY = (
    "USERNAME",
    "PASSWORD",
    "HOST",
    "PORT",
    "DEBUG",
    "USER_TOKEN",
    "SECRET_KEY",
    "DATA_DIR",
    "PYTHONPATH",
)


class ManagedServer:
    """A running Label Studio that `stop` ends."""

    def __init__(self, process: "subprocess.Popen[bytes]", config: ServerConfig) -> None:
        self.process = process
        self.config = config

    def is_running(self) -> bool:
        """Return whether the process is alive."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the server and wait until it is gone."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_server(python: Path, folder: Path, config: ServerConfig, access: Access) -> ManagedServer:
    """Start Label Studio on `folder`/data and wait until it answers as itself.

    Raises AnnotationError when the port is taken or the server ends or stays silent.
    """
    refuse_busy_port(config)
    for name in ("data", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "data").chmod(0o700)  # its database holds every token and rater's address in clear
    log = folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(str(python), curate_server.__file__, "start", "--no-browser"),
                *("--internal-host", config.host, "--port", str(config.port)),
                *("--log-level", "WARNING"),
            ],
            env=server_environment(os.environ, folder, access),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,
            start_new_session=True,  # Ctrl-C reaches curate only, which then ends it in order
        )
    server = ManagedServer(process, config)
    try:
        _wait_until_up(server, access, log)
    except BaseException:
        server.stop()
        raise
    return server


def refuse_busy_port(config: ServerConfig) -> None:
    """Raise AnnotationError when somebody listens there: Label Studio would move on silently."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise AnnotationError(
                f"Cannot listen on {config.host}:{config.port} ({error.strerror}). Stop "
                f"the process that uses the port (`curate rate stop` ends this "
                f"workspace's server), or name another --port."
            ) from error


def free_port() -> int:
    """Return a port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def database_to_use(surroundings: Mapping[str, str], kept: Access | None) -> dict[str, str]:
    """Return Label Studio's database: what the environment names, else what was used before.

    Raises AnnotationError when raters have accounts in another one already.
    """
    before = dict(kept.database) if kept else {}
    named = {name: value for name, value in surroundings.items() if name.startswith(DATABASE)}
    if not named:
        return before
    if named.get("DJANGO_DB") != "default" or not named.get("POSTGRE_NAME"):
        raise AnnotationError(
            "For Label Studio on PostgreSQL set DJANGO_DB=default and POSTGRE_NAME, and "
            "POSTGRE_HOST, POSTGRE_PORT, POSTGRE_USER and POSTGRE_PASSWORD as needed."
        )
    if kept and kept.rooms and _place(named) != _place(before):
        raise AnnotationError(
            f"The raters' accounts are in {_place(before)}, and the environment names "
            f"{_place(named)}. Unset DJANGO_DB and POSTGRE_*, or use a new workspace."
        )
    return named


def _place(database: Mapping[str, str]) -> str:
    if not database:
        return "SQLite"
    host, port = database.get("POSTGRE_HOST", "localhost"), database.get("POSTGRE_PORT", "5432")
    return f"PostgreSQL {database['POSTGRE_NAME']} at {host}:{port}"


def server_environment(
    surroundings: Mapping[str, str], folder: Path, access: Access
) -> dict[str, str]:
    """Return the server's environment: quiet, closed to strangers, its data in `folder`."""
    inherited = {
        name: value
        for name, value in surroundings.items()
        if not name.startswith((*ITS_PREFIXES, *DATABASE)) and name not in STRAY
    }
    return {
        **inherited,
        **access.database,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_USERNAME": access.admin_email,
        "LABEL_STUDIO_PASSWORD": access.admin_password,
        "LABEL_STUDIO_USER_TOKEN": access.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "images"),
        # the receiver of its webhooks is curate, on this machine
        "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
        # nothing is sent to its makers
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }


def _wait_until_up(server: ManagedServer, access: Access, log: Path) -> None:
    deadline = time.monotonic() + FIRST_START_S
    while time.monotonic() < deadline:
        if not server.is_running():
            text = log.read_text(encoding="utf-8", errors="replace")
            words = [line for line in text.split("\n") if line.strip()]
            raise AnnotationError(
                f"Label Studio exited at startup with status {server.process.returncode}: "
                f"{words[-1].strip() if words else 'it wrote nothing'}. See {log}."
            )
        if is_healthy(server.config.url):
            check_identity(server.config.url, access)
            return
        time.sleep(POLL_S)
    raise AnnotationError(f"Label Studio did not answer within {FIRST_START_S} s. See {log}.")


def is_healthy(url: str) -> bool:
    """Return whether a Label Studio answers there that it is up."""
    try:
        answer = httpx.get(f"{url}/health", timeout=5, trust_env=False)
        return answer.status_code == 200 and answer.json().get("status") == "UP"
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def check_identity(url: str, access: Access) -> None:
    """Raise AnnotationError unless it is this version and knows this workspace's account."""
    headers = {"Authorization": f"Token {access.token}"}
    try:
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            version = client.get("/api/version").json().get("release")
            me = client.get("/api/current-user/whoami", headers=headers)
            email = me.json().get("email") if me.status_code == 200 else None
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        raise AnnotationError(f"{url} does not answer as Label Studio: {error}.") from None
    if version != LABEL_STUDIO_VERSION or email != access.admin_email:
        raise AnnotationError(
            f"{url} is Label Studio {version}, and it does not know this workspace's account. "
            f"Needed: {LABEL_STUDIO_VERSION} with this workspace's data. Is another one running?"
        )
