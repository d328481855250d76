"""The receiver of Label Studio's hints: who may wake the pull, and what strange requests do."""

import io
import random
from typing import Any

import pytest

from annotation.label_studio.webhooks import PATH, webhook_app

SECRET = "a-secret-of-thirty-two-characters"


class Woken:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


class UnreadBody(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("the body of a hint is read")


def ask(wake: Woken, **environ: Any) -> str:
    """Send one request; return the status."""
    said: list[str] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        said.append(status)

    asked = {"REQUEST_METHOD": "POST", "PATH_INFO": PATH, "wsgi.input": UnreadBody()} | environ
    list(webhook_app(SECRET, wake)(asked, start))
    return said[0]


def test_a_hint_with_the_secret_wakes_the_pull_and_nobody_reads_it() -> None:
    wake = Woken()
    assert ask(wake, HTTP_X_CURATE_SECRET=SECRET).startswith("204")
    assert wake.times == 1


@pytest.mark.parametrize("secret", ["", "guess", SECRET[:-1], SECRET + " ", "\xff\x00", "é" * 33])
def test_without_the_secret_nothing_happens(secret: str) -> None:
    wake = Woken()
    assert ask(wake, HTTP_X_CURATE_SECRET=secret).startswith("403")
    assert wake.times == 0


@pytest.mark.slow
def test_no_request_made_at_random_wakes_it_or_breaks_it() -> None:
    chance, wake = random.Random(0), Woken()
    for _ in range(3000):
        environ: dict[str, Any] = {}
        for key in ("REQUEST_METHOD", "PATH_INFO", "HTTP_X_CURATE_SECRET", "QUERY_STRING"):
            if chance.random() < 0.7:
                length = chance.choice([0, 1, 33, 5000])
                environ[key] = "".join(chr(chance.randrange(256)) for _ in range(length))
        assert ask(wake, **environ)[:3] in ("403", "404")
    assert wake.times == 0
