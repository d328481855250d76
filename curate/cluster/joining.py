"""A Ray cluster, joined for a while: one that runs already, or this machine's own."""

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from curate.errors import CurateError

PROBE_S = 10.0  # for an answer from a cluster's address; Ray itself would ask much longer
NO_CLUSTER = (ConnectionError, ValueError, RuntimeError, RayError)  # what Ray says of one


@contextmanager
def connected(address: str, *, show_workers: bool = False) -> Iterator[None]:
    """Join the cluster at HOST:PORT; leave it at the end.

    "auto" is the cluster that this machine belongs to, or else its own cores and GPUs as one, for
    this call; "local" is always the latter. Raises CurateError where nobody answers, or where
    versions or token are others.
    """
    quietly: dict[str, Any] = {"log_to_driver": show_workers, "logging_level": logging.ERROR}
    if address not in ("auto", "local") and not address.startswith("ray://"):
        _probe(address)
    ours = signal.getsignal(signal.SIGTERM)  # Ray sets another way to end when it joins
    is_own = address == "local"
    if not is_own:
        try:
            ray.init(address=address, **quietly)
        except NO_CLUSTER as error:
            if address != "auto" or _is_mismatch(error):
                raise refusal(address, error) from error
            is_own = True
    if is_own:
        ray.init(address="local", include_dashboard=False, **quietly)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Raise CurateError unless somebody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise CurateError(
            f"--ray {address}: give auto, local, or the HOST:PORT of `ray start --head`."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise CurateError(
            f"No Ray cluster at {address}: {error}. Start one with `ray start --head`, join it "
            "with `ray start --address=HOST:6379`, and let this machine reach the port."
        ) from error


def refusal(address: str, error: Exception) -> CurateError:
    """Return what to tell of a cluster that answered, and let us not join."""
    said = " ".join(str(error).split())
    if _is_mismatch(error):
        return CurateError(
            f"The Ray cluster at {address} has other versions than this machine: {said} Install "
            "the same Python, Ray and curate on every node."
        )
    return CurateError(
        f"Something listens at {address}, but lets us join no Ray cluster ({said}). Is it the "
        "port of `ray start --head` (6379)? Does the cluster ask for a token? Then copy the head's "
        "~/.ray/auth_token here and set RAY_AUTH_MODE=token on every node."
    )


def _is_mismatch(error: Exception) -> bool:
    return "mismatch" in str(error)
