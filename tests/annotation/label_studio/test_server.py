"""What the managed server is told, and what it is never told."""

import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from annotation.config import ServerConfig
from annotation.errors import AnnotationError
from annotation.label_studio import environment as environments
from annotation.label_studio import server as servers
from annotation.label_studio.access import new_access, with_room
from annotation.label_studio.environment import ensure_environment
from annotation.label_studio.server import (
    database_to_use,
    free_port,
    is_healthy,
    refuse_busy_port,
    server_environment,
    start_server,
)
from tests.annotation.label_studio.conftest import start_or_skip

ACCESS = new_access("http://127.0.0.1:8090")


def test_stray_variables_do_not_leak_in() -> None:
    surroundings = {
        "PATH": "/bin",
        "DEBUG": "true",
        "PORT": "80",
        "LABEL_STUDIO_HOST": "elsewhere",
        "HEARTEX_X": "1",
        "DJANGO_SETTINGS_MODULE": "of another project",
        "PYTHONPATH": "/other/libraries",
        "POSTGRE_NAME": "of another shell",
    }
    found = server_environment(surroundings, Path("/ws/label-studio"), ACCESS)
    assert found["PATH"] == "/bin"
    assert (set(surroundings) - {"PATH"}).isdisjoint(found)


def test_a_postgresql_that_was_named_once_is_used_from_then_on() -> None:
    named = {"DJANGO_DB": "default", "POSTGRE_NAME": "labels", "POSTGRE_PASSWORD": "secret"}
    access = replace(ACCESS, database=database_to_use({"PATH": "/bin", **named}, None))
    assert access.database == named
    assert database_to_use({"PATH": "/bin"}, access) == named
    assert named.items() <= server_environment({}, Path("/ws"), access).items()
    assert "secret" not in repr(access)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"POSTGRE_NAME": "labels"}, "set DJANGO_DB=default"),
        ({"DJANGO_DB": "default"}, "POSTGRE_NAME"),
        (
            {"DJANGO_DB": "default", "POSTGRE_NAME": "labels"},
            "accounts are in SQLite.*PostgreSQL labels at localhost:5432",
        ),
    ],
)
def test_a_database_without_the_raters_accounts_is_refused(
    named: dict[str, str], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        database_to_use(named, with_room(ACCESS, "ann", "token of ann's room"))


def test_nothing_is_sent_to_its_makers_and_strangers_cannot_sign_up() -> None:
    found = server_environment({}, Path("/ws"), ACCESS)
    assert found["LABEL_STUDIO_COLLECT_ANALYTICS"] == "false"
    assert found["LABEL_STUDIO_LATEST_VERSION_CHECK"] == "false"
    assert found["SENTRY_DSN"] == found["FRONTEND_SENTRY_DSN"] == ""
    assert found["LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK"] == "true"


def test_a_busy_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = ServerConfig(port=other.getsockname()[1])
        with pytest.raises(AnnotationError, match=f"{config.port}.*another --port"):
            refuse_busy_port(config)


def test_all_interfaces_are_reached_over_loopback() -> None:
    assert ServerConfig(host="0.0.0.0", port=1).url == "http://127.0.0.1:1"
    assert ServerConfig(host="::1", port=1).url == "http://[::1]:1"


def test_a_server_that_ends_at_its_start_is_told_with_its_log(tmp_path: Path) -> None:
    # not Label Studio's Python: the module is not there
    config = ServerConfig(port=free_port())
    with pytest.raises(AnnotationError, match="status 1: ModuleNotFoundError.*server.log"):
        start_server(Path(sys.executable), tmp_path, config, ACCESS)
    with pytest.raises(pytest.skip.Exception, match="ModuleNotFoundError"):  # a test says so too
        start_or_skip(Path(sys.executable), tmp_path, config, ACCESS)


def test_nothing_there_is_not_healthy() -> None:
    assert not is_healthy("http://127.0.0.1:9")


def test_another_label_studio_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnnotationError, match="does not answer as Label Studio"):
        servers.check_identity("http://127.0.0.1:9", replace(ACCESS, token="x"))


def test_an_environment_that_cannot_be_made_is_said_and_left_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("label-studio @ file:///nowhere\n")
    monkeypatch.setattr(environments, "PINS", pins)
    folder = tmp_path / "environment"
    with pytest.raises(AnnotationError, match="could not be installed.*CURATE_LABEL_STUDIO_ENV"):
        ensure_environment(folder, say=lambda line: None)
    assert not (folder / "complete").exists()
