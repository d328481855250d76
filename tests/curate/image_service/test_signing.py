import stat
from pathlib import Path
from uuid import UUID

import pytest

from curate.errors import CurateError
from curate.image_service.signing import (
    KEY_FILE,
    Shown,
    read_address,
    signed_path,
    workspace_key,
)

KEY = bytes(range(32))
SHOWN = Shown(UUID("3f6d6a34-4c0e-4b4b-9c51-0a2f6f0e6a11"), "left")


def signs(path_and_query: str, key: bytes = KEY) -> bool:
    path, _, query = path_and_query.partition("?")
    address = read_address(path, query)
    return address is not None and address.is_signed_with(key)


def test_what_was_signed_is_read_back() -> None:
    path, _, query = signed_path(KEY, SHOWN, 1_800_000_000).partition("?")
    address = read_address(path, query)
    assert address is not None
    assert (address.shown, address.until) == (SHOWN, 1_800_000_000)
    assert address.is_signed_with(KEY)


def test_the_signature_is_hmac_sha256_of_path_and_expiry() -> None:
    """Against `openssl dgst -sha256 -hmac`, so that the scheme can be written down."""
    import subprocess

    address = signed_path(KEY, SHOWN, 1_800_000_000)
    said, _, signature = address.partition("&signature=")
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}", "-binary"],
        input=said.encode(),
        capture_output=True,
        check=True,
    )
    import base64

    assert base64.urlsafe_b64decode(signature + "=") == done.stdout


def test_another_picture_side_or_moment_needs_another_signature() -> None:
    good = signed_path(KEY, SHOWN, 1_800_000_000)
    assert signs(good)
    assert not signs(good.replace("0a2f6f0e6a11", "0a2f6f0e6a12"))
    assert not signs(good.replace("/left", "/right"))
    assert not signs(good.replace("until=1800000000", "until=1900000000"))
    assert not signs(good, key=bytes(32))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.replace("/images/", "/images/../images/"),
        lambda a: a.replace("/images/", "//images/"),
        lambda a: a.replace("/images/", "/IMAGES/"),
        lambda a: a.replace("/left", "/left/"),
        lambda a: a.replace("/left", "/left%00"),
        lambda a: a.replace("/left", "/left\n"),
        lambda a: a.replace("3f6d", "3F6D"),
        lambda a: a.replace("until=", "until=0"),
        lambda a: a.replace("until=", "until=+"),
        lambda a: a + "&until=1",
        lambda a: a + "=",
        lambda a: a + "\n",
        lambda a: a.partition("?")[0],
        lambda a: a.partition("&")[0],
    ],
)
def test_an_address_written_in_any_other_way_is_none(change: "object") -> None:
    assert callable(change)
    assert not signs(change(signed_path(KEY, SHOWN, 1_800_000_000)))


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    key = workspace_key(tmp_path)
    assert len(key) == 32 and workspace_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    workspace_key(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(CurateError, match="may be read by others"):
        workspace_key(tmp_path)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    workspace_key(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(CurateError, match="5 bytes"):
        workspace_key(tmp_path)
