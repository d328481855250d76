"""Names of files that come from outside (a manifest, a table, an archive), and texts for pages."""

import html
import re
import stat
from pathlib import Path, PurePosixPath

from curate.errors import CurateError

LONGEST_PART = 255  # bytes of one file name, on every file system that curate meets


def relative_name(name: object) -> str:
    """Return a name that stays below the folder it is joined to, whoever wrote it.

    Raises ValueError for one that is absolute, leads upwards, or could mean another place.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{name!r} is no file name")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0]:
        raise ValueError(f"the path {name!r} leads out of the folder")
    if parts == () or any(len(part.encode()) > LONGEST_PART for part in parts):
        raise ValueError(f"{name[:40]!r} is no file name")
    if PurePosixPath(name).as_posix() != name:
        raise ValueError(f"the path {name!r} has two spellings; this is not the plain one")
    return name


def is_plain_file(folder: Path, name: str) -> bool:
    """Say whether a regular file is there, with no link on the way from `folder` to it."""
    path = folder
    for part in PurePosixPath(relative_name(name)).parts:
        path = path / part
        if path.is_symlink():
            return False
    return path.is_file()


def require_regular_file(path: Path) -> None:
    """Raise CurateError for a device, a pipe, a folder, or what cannot be looked at.

    A link is followed: a table may name its images through links of the user's own.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise CurateError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:  # a name too long, a null byte, no permission
        reason = getattr(error, "strerror", None) or error
        raise CurateError(f"{str(path)[:200]} cannot be opened ({reason})") from error
    if not stat.S_ISREG(mode):
        raise CurateError(f"{path} is not a regular file")


def as_text(value: object) -> str:
    """Return a text that shows as it is in Markdown, in a table too: no markup, no HTML."""
    line = " ".join(str(value).split())
    return re.sub(r"[\\`*\[\]|]", r"\\\g<0>", html.escape(line, quote=False))
