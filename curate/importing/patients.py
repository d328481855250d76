"""Pseudonyms: images of one patient stay together, and nobody can tell who it is."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

SALT = "patients.salt"  # in the workspace's folder; whoever has it can test a guess of an ID


def pseudonym(folder: Path, patient_id: str) -> str:
    """Return the same 16 hexadecimal digits for the same patient within one workspace."""
    salt = folder / SALT
    if not salt.exists():  # a new one, whole or not at all; the first of two processes wins
        beside = salt.with_name(f"{SALT}.{os.getpid()}")
        beside.touch(mode=0o600)
        beside.write_bytes(secrets.token_bytes(32))
        try:
            os.link(beside, salt)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    digest = hmac.new(salt.read_bytes(), patient_id.strip().encode(), hashlib.sha256)
    return f"p-{digest.hexdigest()[:16]}"
