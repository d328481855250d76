"""Generator versions in plain values: what there is, and one version in full."""

from typing import Any

from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion


def describe_versions(ws: Workspace, *, archived: bool = False) -> list[dict[str, Any]]:
    """Return the versions, oldest first; the embedded model is added when there is none.

    Those that were put aside are left out, unless `archived`.
    """
    if queries.versions.latest_version(ws.session) is None:
        from curate.production.versions import embedded_version  # torch: only where needed

        embedded_version(ws)
    aside = [] if archived else queries.archive.archived_ids(ws.session, "version")
    versions = queries.versions.versions(ws.session)
    return [_summary(ws, version) for version in versions if version.id not in aside]


def describe_version(ws: Workspace, name: str) -> dict[str, Any]:
    """Return one version with its files, settings, figures and ancestors."""
    version = queries.versions.find_version(ws.session, name)
    ancestors: list[str] = []
    parent_id = version.parent_id
    while parent_id is not None:
        ancestors.append(parent_id)
        parent_id = queries.versions.find_version(ws.session, parent_id).parent_id
    return {
        **_summary(ws, version),
        "files": queries.versions.version_files(ws.session, version.id),
        "config": version.config,
        "metrics": version.metrics,
        "reward_model": version.reward_model_id,
        "ancestors": ancestors,
    }


def _summary(ws: Workspace, version: GeneratorVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "generator": version.generator_name,
        "family": queries.versions.family_of(ws.session, version),
        "how_made": version.how_made,
        "weights": version.weights,
        "parent": version.parent_id,
        "created_at": version.created_at.isoformat(),
        "num_images": queries.images.num_images_of(ws.session, version.id),
    }
