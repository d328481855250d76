"""Files that are opened for what they hold have the bytes of their hash: checked, and remembered.

A file is hashed when it is opened first, and again when its size, time or inode has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from curate.workspace import Workspace
from db.errors import StoreError
from db.folders import replace_file
from db.store import LocalStore

MEMORY = "verified.json"  # in the cache: path -> [size, time in ns, inode, SHA-256]


def verified_path(ws: Workspace, sha256: str) -> Path:
    """Return a local file of the store with exactly the bytes of its hash.

    Raises StoreError for one that is missing or damaged.
    """
    path = ws.store.local_path(sha256)
    if damaged_files(ws, {path: sha256}):
        raise StoreError(
            f"File {sha256[:12]} is damaged: its bytes are not those it was stored with. "
            "Run `curate doctor`."
        )
    return path


def is_whole(ws: Workspace, sha256: str) -> bool:
    """Say whether the store has this file; one on this machine is read, with its own bytes.

    A remote one would have to be fetched: `curate doctor` does that, and moves what is damaged.
    """
    if not ws.store.exists(sha256):
        return False
    return not isinstance(ws.store, LocalStore) or ws.store.measure(sha256)[1] == sha256


def damaged_files(ws: Workspace, files: Mapping[Path, str]) -> list[Path]:
    """Return which of these files are missing or have other bytes than their SHA-256 says."""
    memory_path = ws.cache / MEMORY
    known: dict[str, list[int | str]] = {}
    with suppress(OSError, ValueError, TypeError):  # none yet, or torn: the files are hashed again
        known = dict(json.loads(memory_path.read_text(encoding="utf-8")))
    looked_at: dict[str, list[int | str]] = {}
    damaged = []
    for path, sha256 in files.items():
        try:
            status = path.stat()
            seen: list[int | str] = [status.st_size, status.st_mtime_ns, status.st_ino, sha256]
            if known.get(str(path)) != seen:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        damaged.append(path)
                        continue
                looked_at[str(path)] = seen
        except FileNotFoundError:
            damaged.append(path)
    if looked_at:
        there = {p: seen for p, seen in (known | looked_at).items() if Path(p).exists()}
        with suppress(OSError):  # a full disk costs another look next time, not the work at hand
            replace_file(memory_path, json.dumps(there).encode())
    return damaged
