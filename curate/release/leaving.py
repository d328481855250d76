"""How a file leaves the workspace: a synthetic one says so, and what it was before is known."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.release import verify_alone
from curate.release.entries import Entry
from curate.release.seal import Seal
from curate.samples.marks import is_png, marked
from curate.workspace import Workspace

VERIFY = "verify.py"


def as_it_leaves(
    ws: Workspace,
    entry: Entry,
    *,
    mark: bool,
    seal: Seal | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> bytes:
    """Return an image's file as a release has it; raises CurateError if the stored one is damaged.

    Only synthetic images are marked: real ones keep their bytes. With a seal, a marked PNG is also
    signed, with its `lineage`.
    """
    content = ws.store.get(entry.file_sha256)
    if hashlib.sha256(content).hexdigest() != entry.file_sha256:
        raise CurateError(
            f"The stored file {entry.file_sha256[:12]} is damaged. Run `curate doctor`."
        )
    if not mark or entry.origin != "synthetic":
        return content
    content = marked(content)
    return seal.sealed(content, lineage or {}) if seal and is_png(content) else content


def verify_script() -> bytes:
    """Return the program that proves a release with Python alone."""
    return Path(verify_alone.__file__).read_bytes()
