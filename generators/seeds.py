"""Seeds by name: whoever draws something gives it a name of its own, so that no order matters."""

import hashlib


def hashed_seed(name: str) -> int:
    """Return 63 bits that only this name has: neighbouring names give unrelated seeds."""
    digest = hashlib.sha256(f"curate {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
