"""Images that another program made, whose weights nobody here has: a version of them is a name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from generators.errors import GeneratorError

FAMILY = "elsewhere"
FILE = "made-elsewhere.json"  # all that a version's folder holds
SETTINGS = {"made": FAMILY}  # of each image: how it was sampled is not known


def is_from_elsewhere(settings: Mapping[str, Any] | None) -> bool:
    """Tell an image that cannot be made again by its settings."""
    return settings == SETTINGS


def described(generator: str) -> bytes:
    """Return what stands in a version's file."""
    return json.dumps({"generator": generator}, ensure_ascii=False, sort_keys=True).encode()


def load(folder: str | Path) -> NoReturn:
    """Refuse: there is nothing to open."""
    name = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))["generator"]
    raise GeneratorError(
        f"{name} made its images elsewhere and its weights are not here: it makes no image, makes "
        "none again, and is not trained. Its images can be rated, scored, evaluated and exported."
    )
