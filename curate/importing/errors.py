"""Why a row of an import is refused."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Refused(ValueError):
    """A row cannot be taken; the message is the reason, shown beside its file and line."""


@contextmanager
def foreign(problem: str, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Turn whatever somebody else's parser raises at a file's content into a refusal.

    For their calls alone: a mistake of our own code is to show itself. What they warn of is said.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
        except Refused:
            raise
        except Exception as error:  # no parser says all that it may raise
            raise Refused(f"{problem} ({str(error) or type(error).__name__})") from error
    for warning in told:
        say(str(warning.message).splitlines()[0])
