"""Reads a PNG's structure by the format's rules, without an image library."""

import struct
from collections.abc import Iterator


def chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, content) of every chunk."""
    assert encoded[:8] == b"\x89PNG\r\n\x1a\n"
    place = 8
    while place < len(encoded):
        length, name = struct.unpack(">I4s", encoded[place : place + 8])
        yield name, encoded[place + 8 : place + 8 + length]
        place += 12 + length  # length, name and checksum are 4 bytes each


def chunk_names(encoded: bytes) -> set[bytes]:
    return {name for name, _ in chunks(encoded)}
