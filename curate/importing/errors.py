"""Why a row of an import is refused."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refused(ValueError):
    """A row cannot be taken; the message is the reason, shown beside its file and line."""


@contextmanager
def foreign(problem: str) -> Iterator[None]:
    """Turn whatever somebody else's parser raises at a file's content into a refusal.

    For their calls alone: a mistake of our own code is to show itself.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # no parser says all that it may raise
        raise Refused(f"{problem} ({str(error) or type(error).__name__})") from error
