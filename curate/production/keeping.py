"""How a run's images become files and rows."""

from collections.abc import Sequence
from typing import Any

from curate.production.environment import describe_environment, environment_row
from curate.production.items import item_key, settings_hash
from curate.production.writer import Encoded, Keep
from curate.workspace import Workspace
from db import queries_generate
from db.engine import Session
from db.models import Environment, Run


def keeper(ws: Workspace, run: Run, device: str, unit: str) -> Keep:
    """Return what keeps a batch of the run's images: the files first, then the rows.

    Kept twice, a batch is there once: so it can be tried again after a lost connection.
    """
    planned = int(run.settings["batch_size"])
    environments: dict[int, Environment] = {}

    def keep(session: Session, images: Sequence[Encoded]) -> int:
        hashes = ws.store.put_many([image.png for image in images])
        for size in {image.compute_batch_size for image in images}:
            if size not in environments:
                smaller = None if size == planned else size
                details = describe_environment(device, compute_batch_size=smaller)
                environments[size] = environment_row(details)
            queries_generate.get_or_add_environment(session, environments[size])
        files = [
            {"sha256": sha, "num_bytes": len(image.png), "media_type": "image/png"}
            for sha, image in zip(hashes, images, strict=True)
        ]
        common = _common_values(run, unit)
        rows = [
            {
                **common,
                "file_sha256": sha,
                "environment_id": environments[image.compute_batch_size].id,
                **_own_values(run, image),
            }
            for sha, image in zip(hashes, images, strict=True)
        ]
        return queries_generate.add_images(session, files, rows)

    return keep


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
