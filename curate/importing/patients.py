"""Pseudonyms: images of one patient stay together, and nobody can tell who it is."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from curate.errors import CurateError
from db.folders import remove_abandoned, sync, unfinished_folder

SALT = "patients.salt"  # in the workspace's folder; whoever has it can test a guess of an ID
NUM_BYTES = 32  # of the salt


def pseudonym(folder: Path, patient_id: str) -> str:
    """Return the same 16 hexadecimal digits for the same patient within one workspace."""
    salt = folder / SALT
    if not salt.exists():  # a new one, whole or not at all; the first of two processes wins
        remove_abandoned(folder, f"{SALT}.")  # by earlier versions, killed
        with unfinished_folder(folder, f".{SALT}.") as aside:
            new = aside / SALT
            new.touch(mode=0o600)
            new.write_bytes(secrets.token_bytes(NUM_BYTES))
            sync([str(new)])
            with suppress(FileExistsError):
                os.link(new, salt)
                sync([str(folder)])
    key = salt.read_bytes()
    if len(key) != NUM_BYTES:
        raise CurateError(
            f"{salt} is damaged: {len(key)} bytes, not {NUM_BYTES}. Restore it from a backup: with "
            "another one the patients who are here already would count as others."
        )
    digest = hmac.new(key, patient_id.strip().encode(), hashlib.sha256)
    return f"p-{digest.hexdigest()[:16]}"
