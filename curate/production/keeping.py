"""How a run's images become files and rows."""

from collections.abc import Sequence

from curate.production.environment import environment_row
from curate.production.plan import Plan, item_key
from curate.production.writer import Encoded
from curate.workspace import Workspace
from db import queries
from db.engine import Session


class RunKeeper:
    """Keeps a run's images in the workspace: the files first, then the rows."""

    def __init__(self, ws: Workspace, plan: Plan) -> None:
        self._store, self._plan = ws.store, plan
        self._common = {
            "origin": "synthetic",
            "version_id": plan.version_id,
            "run_id": plan.id,
            "settings": dict(plan.settings),
            "settings_hash": plan.settings_hash,
        }

    def store(self, images: Sequence[Encoded]) -> list[str]:
        """Make the files durable; return their SHA-256s."""
        return self._store.put_many([image.file.content for image in images])

    def record(self, session: Session, images: Sequence[Encoded], hashes: Sequence[str]) -> int:
        """Add the rows that are not there yet; return how many."""
        # few objects, and hashing one takes time: each is hashed once
        environments = {id(image.environment): image.environment for image in images}
        environment_ids = {
            place: queries.runs.get_or_add_environment(session, environment_row(details))
            for place, details in environments.items()
        }
        files = [
            {
                "sha256": sha,
                "num_bytes": len(image.file.content),
                "media_type": image.file.media_type,
            }
            for sha, image in zip(hashes, images, strict=True)
        ]
        plan = self._plan
        rows = [
            {
                **self._common,
                "file_sha256": sha,
                "environment_id": environment_ids[id(image.environment)],
                "pixels_sha256": image.pixels_sha256,
                "prompt_id": item.prompt_id,
                **image.geometry,
                "run_index": item.index,
                "seed": item.seed,
                "item_key": item_key(plan.version_id, item.prompt_id, item.seed, plan.settings),
            }
            for sha, image in zip(hashes, images, strict=True)
            for item in [image.item]
        ]
        return queries.images.add_images(session, files, rows)
