"""Files that appear whole or not at all."""

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from db.folders import replace_file


def test_what_a_killed_process_left_beside_a_file_is_used_again(tmp_path: Path) -> None:
    (tmp_path / ".page.html.partial").write_bytes(b"half of a much longer page")
    replace_file(tmp_path / "page.html", b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"page.html": b"whole"}


def test_what_was_left_for_all_to_read_does_not_show_a_secret(tmp_path: Path) -> None:
    (tmp_path / ".salt.partial").touch(mode=0o644)
    replace_file(tmp_path / "salt", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "salt").stat().st_mode) == 0o600


def test_two_that_write_one_file_wait_for_each_other(tmp_path: Path) -> None:
    texts = [bytes([65 + number]) * 100_000 for number in range(4)]

    def write(text: bytes) -> None:
        for _ in range(20):
            replace_file(tmp_path / "a", text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with suppress(FileNotFoundError):  # not written yet
            assert (tmp_path / "a").read_bytes() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "a", b"after")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"before"}
