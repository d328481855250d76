"""Addresses that nobody can make up, and that end: HMAC-SHA256 over what is shown and until when.

A signed address is a bearer's key to one picture: whoever has it sees the picture until it expires.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from curate.errors import CurateError
from db.models import SHOWN_ROLES, side_of

KEY_FILE = "image-service.key"  # in the workspace; only its owner may read it
KEY_BYTES = 32
# One way only to write an address: nothing to normalise, nothing to traverse.
_PATH = re.compile(r"/images/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([a-z]+[1-9]?)")
_QUERY = re.compile(r"until=([1-9][0-9]{0,11})&signature=([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Shown:
    """One picture before a rater's eyes: an assignment's, by its name."""

    assignment_id: UUID
    name: str  # a side ("left" where there is no pair), its slice ("left1"), or a condition's role


@dataclass(frozen=True)
class SignedAddress:
    """A request that is written as an address must be; whether its signature holds is open."""

    shown: Shown
    until: int  # seconds since 1970, the last one at which the address holds
    signature: str

    def is_signed_with(self, key: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.signature, _signature(key, self.shown, self.until))


def signed_path(key: bytes, shown: Shown, until: int) -> str:
    """Return path and query of a picture's address."""
    return f"{_path(shown)}?until={until}&signature={_signature(key, shown, until)}"


def read_address(path: str, query: str) -> SignedAddress | None:
    """Read an address to the letter; None when it is anything else."""
    place, proof = _PATH.fullmatch(path), _QUERY.fullmatch(query)
    if place is None or proof is None or not (place[2] in SHOWN_ROLES or side_of(place[2])):
        return None
    return SignedAddress(Shown(UUID(place[1]), place[2]), int(proof[1]), proof[2])


def workspace_key(folder: Path) -> bytes:
    """Return the workspace's secret key, made at the first call.

    Deleting the file ends every address ever given out. Raises CurateError when others may read it.
    """
    path = folder / KEY_FILE
    # whole or not at all, never readable by others: linking refuses a file that is there
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink()
    if path.stat().st_mode & 0o077:
        raise CurateError(
            f"{path} may be read by others, so anyone on this machine could make addresses of "
            "images. Delete it: a new key will be made, and addresses issued so far become "
            "invalid."
        )
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise CurateError(
            f"{path} holds {len(key)} bytes; a key has {KEY_BYTES}. Delete it: a new one will be "
            "made, and addresses issued so far become invalid."
        )
    return key


def _path(shown: Shown) -> str:
    return f"/images/{shown.assignment_id}/{shown.name}"


def _signature(key: bytes, shown: Shown, until: int) -> str:
    said = f"{_path(shown)}?until={until}".encode()
    digest = hmac.new(key, said, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
