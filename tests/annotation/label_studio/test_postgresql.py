"""The way from push to rows with PostgreSQL: behind curate, and behind Label Studio itself.

The second starts a Label Studio on an empty database (20 s on an idle machine, a minute on a busy
one) and needs the extension pg_trgm, which the wheel of the other tests lacks. So it runs when
CURATE_TEST_LABEL_STUDIO_POSTGRESQL names the programs of a whole PostgreSQL, such as Debian's
/usr/lib/postgresql/15/bin.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from annotation.config import ServerConfig
from annotation.label_studio.server import free_port
from curate.rating.people import invite
from curate.workspace import init_workspace, open_workspace
from db.engine import make_engine
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import Rater
from tests.annotation.label_studio.serving import serving
from tests.annotation.label_studio.test_real_server import two_raters_say_edit_delete_and_skip
from tests.curate.pictures import add_pictures
from tests.db.conftest import postgres_url

__all__ = ["postgres_url"]  # a fixture

pytestmark = pytest.mark.slow

OPT_IN = "CURATE_TEST_LABEL_STUDIO_POSTGRESQL"
ELSEWHERE = "https://images.example.org"


def new_database(postgres_url: str) -> str:
    """Make a database; return its name."""
    name = f"labels_{uuid4().hex[:12]}"
    server = make_engine(postgres_url)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    server.dispose()
    return name


@pytest.fixture
def folder(postgres_url: str, tmp_path: Path) -> Path:
    """A workspace with four pictures, its rows on PostgreSQL."""
    url = postgres_url.replace("/postgres?", f"/{new_database(postgres_url)}?")
    init_workspace(tmp_path / "workspace", database_url=url)
    with open_workspace(tmp_path / "workspace") as ws:
        add_pictures(ws, 4, sides=(64,))
    return tmp_path / "workspace"


def rate_as_two(
    folder: Path, names: tuple[str, str], url: str, images_from: str, *, is_watched: bool
) -> None:
    with open_workspace(folder) as ws:
        raters = []
        for name in names:
            email = f"{name}@example.org"
            _, invitation = invite(ws, email, name=name, expert_level=2, say=print)
            raters.append(Rater(url, email, invitation.password))
        two_raters_say_edit_delete_and_skip(
            ws, raters[0], raters[1], images_from, is_watched=is_watched
        )


def test_the_rows_are_the_same_when_curates_are_on_postgresql(served: Served, folder: Path) -> None:
    (folder / "label-studio").symlink_to(served.server_folder)
    rate_as_two(folder, ("cat", "dan"), served.url, ELSEWHERE, is_watched=False)


@pytest.fixture
def labels() -> Iterator[dict[str, str]]:
    """An empty database in Label Studio's own words, on a server that lives for the test."""
    programs, port = Path(os.environ[OPT_IN]), str(free_port())
    user = "postgres" if os.geteuid() == 0 else None  # its server refuses to run as root
    data = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(data, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, user=user, cwd=data, check=True, stdout=subprocess.DEVNULL)

    run("initdb", "-D", str(data / "db"), "-A", "trust", "-U", "labels")
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", str(data / "db"), "-l", str(data / "log"), "-o", options, "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "labels", "labels")
        yield {
            "DJANGO_DB": "default",
            "POSTGRE_NAME": "labels",
            "POSTGRE_USER": "labels",
            "POSTGRE_PASSWORD": "any, for a server that trusts",
            "POSTGRE_HOST": "127.0.0.1",
            "POSTGRE_PORT": port,
        }
    finally:
        run("pg_ctl", "-D", str(data / "db"), "-m", "fast", "stop")
        shutil.rmtree(data)


@pytest.mark.apart
@pytest.mark.skipif(OPT_IN not in os.environ, reason=f"takes a minute; see {OPT_IN}")
@pytest.mark.timeout(600)
def test_label_studio_itself_runs_on_postgresql(
    folder: Path, labels: dict[str, str], label_studio_python: Path
) -> None:
    port = free_port()
    config = ServerConfig(port=port)
    with serving(folder, ["--port", str(port)], labels):
        # at the door, with the database known from the first start, not from this process
        rate_as_two(folder, ("eve", "fay"), config.url, "local", is_watched=True)
    data = folder / "label-studio" / "data"
    assert not list(data.glob("*.sqlite3"))
    shutil.rmtree(data)
    with serving(folder, ["--port", str(port)], {}), open_workspace(folder) as ws:
        again = invite(ws, "eve@example.org", name=None, expert_level=2, say=print)[1]
        assert Rater(config.url, "eve@example.org", again.password).log_in()
