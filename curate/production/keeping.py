"""How a run's images become files and rows."""

from collections.abc import Sequence
from typing import Any

from curate.production.environment import environment_row
from curate.production.items import item_key, settings_hash
from curate.production.writer import Encoded, Keep
from curate.workspace import Workspace
from db import queries_generate
from db.engine import Session
from db.models import Run


def keeper(ws: Workspace, run: Run, unit: str) -> Keep:
    """Return what keeps a batch of the run's images: the files first, then the rows.

    Kept twice, a batch is there once: so it can be tried again after a lost connection.
    """
    common = _common_values(run, unit)

    def keep(session: Session, images: Sequence[Encoded]) -> int:
        hashes = ws.store.put_many([image.png for image in images])
        environment_ids = _environment_ids(session, images)
        files = [
            {"sha256": sha, "num_bytes": len(image.png), "media_type": "image/png"}
            for sha, image in zip(hashes, images, strict=True)
        ]
        rows = [
            {
                **common,
                "file_sha256": sha,
                "environment_id": environment_ids[id(image.environment)],
                **_own_values(run, image),
            }
            for sha, image in zip(hashes, images, strict=True)
        ]
        return queries_generate.add_images(session, files, rows)

    return keep


def _environment_ids(session: Session, images: Sequence[Encoded]) -> dict[int, str]:
    """Return the row of each environment by its object: there are few, and hashing takes time."""
    several = {id(image.environment): image.environment for image in images}
    return {
        place: queries_generate.get_or_add_environment(session, environment_row(details))
        for place, details in several.items()
    }


def _common_values(run: Run, unit: str) -> dict[str, Any]:
    return {
        "origin": "synthetic",
        "unit": unit,
        "version_id": run.version_id,
        "run_id": run.id,
        "settings": run.settings,
        "settings_hash": settings_hash(run.settings),
    }


def _own_values(run: Run, image: Encoded) -> dict[str, Any]:
    item = image.item
    return {
        "pixels_sha256": image.pixels_sha256,
        "prompt_id": item.prompt_id,
        "shape": image.shape,
        "run_index": item.index,
        "seed": item.seed,
        "item_key": item_key(run.version_id, item.prompt_id, item.seed, run.settings),
    }
