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
    with _own_sigterm():
        if address == "auto":
            _join_any(quietly)
        elif address == "local":
            _start(quietly)
        else:
            _join(address, quietly)
    try:
        yield
    finally:
        ray.shutdown()


def _start(quietly: dict[str, Any]) -> None:
    ray.init(address="local", include_dashboard=False, **quietly)


def _join_any(quietly: dict[str, Any]) -> None:
    try:
        ray.init(address="auto", **quietly)
    except NO_CLUSTER as error:
        if _is_mismatch(error):
            raise refusal("auto", error) from error
        _start(quietly)


def _join(address: str, quietly: dict[str, Any]) -> None:
    if not address.startswith("ray://"):
        _probe(address)
    try:
        ray.init(address=address, **quietly)
    except NO_CLUSTER as error:
        raise refusal(address, error) from error


def _probe(address: str) -> None:
    """Raise CurateError unless somebody listens there."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise CurateError(
            f"--ray {address}: needed is auto, local, or the HOST:PORT of `ray start --head`."
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


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep our way to end: Ray sets another one when it joins, where it may."""
    ours = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)
