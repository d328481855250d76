"""One salt a workspace, whoever makes it and whatever killed processes left."""

import secrets
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.importing.patients import SALT, pseudonym


def test_a_patient_keeps_the_name_and_nothing_but_the_salt_stays(tmp_path: Path) -> None:
    (tmp_path / f"{SALT}.4711").write_bytes(b"half a sa")  # of a version that named them so
    (tmp_path / f".{SALT}.killed").mkdir()
    name = pseudonym(tmp_path, "Anna")
    assert name == pseudonym(tmp_path, " Anna ") != pseudonym(tmp_path, "Berta")
    assert [path.name for path in tmp_path.iterdir()] == [SALT]
    assert (tmp_path / SALT).stat().st_mode & 0o777 == 0o600


def test_two_processes_of_one_number_agree_on_a_salt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers: the other one is at work while this one is."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    secret = secrets.token_bytes
    others: list[str] = []

    def interrupted(count: int) -> bytes:
        monkeypatch.setattr("secrets.token_bytes", secret)
        others.append(pseudonym(tmp_path, "Anna"))
        return bytes(count)

    monkeypatch.setattr("secrets.token_bytes", interrupted)
    assert [pseudonym(tmp_path, "Anna")] == others


def test_a_salt_that_was_cut_is_never_used(tmp_path: Path) -> None:
    (tmp_path / SALT).write_bytes(b"")
    with pytest.raises(CurateError, match="is damaged: 0 bytes, not 32"):
        pseudonym(tmp_path, "Anna")
