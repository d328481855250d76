"""One planned image, and the key that makes equal plans the same image."""

from dataclasses import dataclass
from typing import Any

from db.hashing import json_hash


@dataclass(frozen=True)
class Item:
    """One planned image."""

    index: int
    prompt_id: str
    seed: int


def settings_hash(settings: dict[str, Any]) -> str:
    """Return the hash that tells one set of sampling settings from another."""
    return json_hash(settings)


def item_key(version_id: str, prompt_id: str, seed: int, settings: dict[str, Any]) -> str:
    """Return the key of one image: equal keys are the same image."""
    return json_hash([version_id, prompt_id, seed, settings])
