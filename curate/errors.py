"""What a user can fix in the workflow, and the tuple of all such errors."""

import errno
from collections.abc import Sequence

from annotation.errors import AnnotationError
from db.errors import StoreError
from generators.errors import GeneratorError
from rewards.errors import RewardError


class CurateError(Exception):
    """The workflow cannot do what was asked; the message says what to do next."""


class Stopped(CurateError):
    """Work ended early because somebody asked for it: no failure."""


# What cli.py shows as one line; anything else is a bug and keeps its traceback.
USER_ERRORS = (CurateError, StoreError, GeneratorError, RewardError, AnnotationError)
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full_disk(error: BaseException) -> bool:
    """Say whether a write failed for want of space, whichever library wrote.

    safetensors and SQLite raise classes of their own, which name the system's error in words only.
    """
    if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
        return True
    said = str(error)
    return "(os error 28)" in said or "No space left on device" in said or "disk is full" in said


def unknown_campaign(name: str, known: Sequence[str]) -> CurateError:
    """Return the error for a campaign that is not there."""
    return CurateError(
        f"No campaign {name!r}. Known: {', '.join(sorted(known)) or 'none'}. "
        "Make one with `curate rate simulate`, or fetch one with `curate rate import`."
    )
