"""Results kept under the hash of what they were computed from: a stopped command goes on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from db.folders import replace_file
from db.hashing import json_hash
from rewards.classifiers import learning_device


def key_of(parts: Sequence[Any]) -> str:
    """Return the key of what is learned from these plain values; a GPU's results are its own."""
    device = learning_device().type
    return json_hash([*parts, *([] if device == "cpu" else [device])])


def kept(cache: Path, key: str, make: Callable[[], Any]) -> Any:
    """Return the plain value kept under `key`, made and kept where there is none yet."""
    place = cache / "results" / key[:2] / f"{key}.json"
    try:
        return json.loads(place.read_bytes())
    except (OSError, ValueError):  # none yet, or torn: it can be made again
        made = make()
        replace_file(place, json.dumps(made).encode())
        return made
