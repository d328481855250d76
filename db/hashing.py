"""One hash for a value of JSON."""

import hashlib
import json


def json_hash(value: object) -> str:
    """Return the SHA-256 of a value's one canonical JSON form: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
