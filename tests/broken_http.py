"""Requests that no browser would send, over plain sockets; for every endpoint that listens."""

import random
import socket
from urllib.parse import urlsplit


def mutated(chance: random.Random, request: bytes, target: int) -> bytes:
    """Change the address of a good request; sometimes send nothing of it at all."""
    kind = chance.randrange(6)
    place = chance.randrange(4, target)  # behind "GET "
    if kind == 0:
        other = bytes([(request[place] + chance.randrange(1, 256)) % 256])
        return request[:place] + other + request[place + 1 :]
    if kind == 1:
        return request[:place] + request[place + chance.randrange(1, 9) :]
    if kind == 2:
        return request[:place] + request[4:target] + request[place:]
    if kind == 3:
        piece = chance.choice(
            [b"..%2f", b"%00", b"/", b"%0d%0aX: y", b"\xff", b"&until=1", b";", b"?"]
        )
        return request[:place] + piece + request[place:]
    if kind == 4:
        return b"GET /" + chance.randbytes(chance.randrange(1, 300)) + b" HTTP/1.1\r\n\r\n"
    return chance.randbytes(chance.randrange(1, 300)) + b"\r\n\r\n"


def exchange(url: str, sent: bytes) -> bytes:
    """Send bytes, say that there are no more, and return all that comes back."""
    address = urlsplit(url)
    assert address.hostname is not None and address.port is not None
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        said = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                said += piece
        except ConnectionError:  # it may hang up at once
            pass
        return said
