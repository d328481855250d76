"""A Label Studio whose database has all its tables, made once for all tests: `make label-studio`.

It lies in CURATE_TEST_CACHE, or the user's cache, so that a start takes 4 s instead of a minute.
"""

import hashlib
import os
from pathlib import Path

from annotation.config import LABEL_STUDIO_VERSION, ServerConfig
from annotation.label_studio.access import new_access
from annotation.label_studio.environment import PINS, ensure_environment, environment_folder
from annotation.label_studio.server import free_port, start_server
from curate.rating.label_studio import write_access
from tests.whole import made_once


def migrated_folder(python: Path) -> Path:
    """Return a server folder with all tables and curate's account, made first when it is new."""
    pins = hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]
    cache = Path(os.environ.get("CURATE_TEST_CACHE") or Path.home() / ".cache" / "curate" / "tests")

    def migrate(folder: Path) -> None:
        config = ServerConfig(port=free_port())
        access = new_access(config.url)
        start_server(python, folder, config, access).stop()
        write_access(folder / "access.json", access)

    return made_once(cache / f"label-studio-{LABEL_STUDIO_VERSION}-{pins}", migrate)


if __name__ == "__main__":
    migrated_folder(ensure_environment(environment_folder(), say=print))
