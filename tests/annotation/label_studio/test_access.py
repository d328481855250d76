from pathlib import Path

import pytest

from annotation.errors import AnnotationError
from annotation.label_studio.access import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    new_access,
    read_access,
    with_room,
)
from curate.rating.label_studio import write_access

URL = "http://127.0.0.1:8090"


def test_what_is_written_is_read_by_its_owner_only(tmp_path: Path) -> None:
    access = with_room(new_access(URL), "ann", "token of ann's room")
    path = tmp_path / "folder" / "access.json"
    path.parent.mkdir()
    (path.parent / "access.json.4711.part").write_text("half a tok")  # of a killed process
    write_access(path, access)
    assert [found.name for found in path.parent.iterdir()] == ["access.json"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_access(path) == access
    assert (access.token_for("ann"), access.token_for("ben")) == (
        "token of ann's room",
        access.token,
    )


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_access(tmp_path / "access.json", new_access(URL))
    (tmp_path / "access.json").chmod(0o644)
    with pytest.raises(AnnotationError, match="chmod 600"):
        read_access(tmp_path / "access.json")


def test_a_broken_file_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    path.touch(mode=0o600)
    path.write_text('{"token": "half-a-tok')
    with pytest.raises(AnnotationError, match="cannot be read") as caught:
        read_access(path)
    assert "half-a-tok" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_environment_wins_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.json"
    write_access(path, new_access(URL))
    monkeypatch.setenv(URL_VARIABLE, "https://labels.example.org/")
    with pytest.raises(AnnotationError, match=f"{TOKEN_VARIABLE} is not"):
        read_access(path)
    monkeypatch.setenv(TOKEN_VARIABLE, "given")
    found = read_access(path)
    assert found is not None
    assert (found.url, found.token, found.managed) == ("https://labels.example.org", "given", False)


def test_fresh_secrets_differ_every_time_and_do_not_show() -> None:
    one, two = new_access(URL), new_access(URL)
    for name in ("token", "admin_password", "webhook_secret"):
        assert getattr(one, name) != getattr(two, name)
        assert getattr(one, name) not in repr(one)
