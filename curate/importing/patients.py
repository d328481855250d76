"""Pseudonyms: images of one patient stay together, and nobody can tell who it is."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

SALT = "patients.salt"  # in the workspace's folder; whoever has it can test a guess of an ID


def pseudonym(folder: Path, patient_id: str) -> str:
    """Return the same 16 hexadecimal digits for the same patient within one workspace."""
    digest = hmac.new(_salt(folder), patient_id.strip().encode(), hashlib.sha256)
    return f"p-{digest.hexdigest()[:16]}"


def _salt(folder: Path) -> bytes:
    path = folder / SALT
    if not path.exists():
        _make_salt(path)
    return path.read_bytes()


def _make_salt(path: Path) -> None:
    """Write a new salt whole or not at all; the first of two processes wins."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_bytes(secrets.token_bytes(32))
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
