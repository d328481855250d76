"""Whatever is sent to the receiver of hints, only the secret wakes the pull."""

import random
import threading

from curate.rating.server import webhook_receiver
from tests.broken_http import exchange, mutated

SECRET = "a-secret-of-thirty-two-characters"
NUM_MUTATIONS = 300


def request(secret: str, body: bytes = b"") -> bytes:
    head = f"POST /label-studio-webhook HTTP/1.1\r\nHost: x\r\nX-Curate-Secret: {secret}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def test_the_secret_wakes_the_pull_whatever_the_body() -> None:
    for body in (b"", b"{}", b'{"action": ', b"\xff\x00" * 500, b"[" * 1_000):
        woken = threading.Event()
        with webhook_receiver(SECRET, woken) as url:
            assert exchange(url, request(SECRET, body)).startswith(b"HTTP/1.1 204")
            assert woken.wait(5)


def test_nothing_else_does_and_the_receiver_goes_on() -> None:
    chance = random.Random(0)
    woken = threading.Event()
    good = request(SECRET)
    secret_at = good.index(SECRET.encode())
    with webhook_receiver(SECRET, woken) as url:
        for _ in range(NUM_MUTATIONS):
            place = secret_at + chance.randrange(len(SECRET))
            other = bytes([(good[place] + chance.randrange(1, 256)) % 256])
            sent = chance.choice(
                [
                    good[:place] + other + good[place + 1 :],  # a wrong secret, or a broken line
                    good[:place] + good[place + 1 :],  # a shorter one
                    mutated(chance, good.replace(SECRET.encode(), b"guess"), secret_at),
                    good.replace(b"POST", b"GET"),
                ]
            )
            said = exchange(url, sent)
            assert not said or said[9:10] == b"4", (sent, said[:80])
            assert SECRET.encode() not in said and b"Traceback" not in said
        assert not woken.is_set()
        assert exchange(url, good).startswith(b"HTTP/1.1 204")
        assert woken.wait(5)
