"""Generator versions between the store and memory: save a folder as a version, open a version."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion
from generators import lora, registry
from generators.base import Generator
from generators.embedded import WEIGHTS

MEDIA_TYPES = {".safetensors": "application/x-safetensors", ".json": "application/json"}


def save_version(
    ws: Workspace,
    folder: Path,
    *,
    generator_name: str,
    family: str,
    how_made: str,
    parent_id: str | None = None,
    weights: str = "full",
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    reward_model_id: str | None = None,
) -> GeneratorVersion:
    """Put every file of `folder` into the store and a version row over them.

    `weights` is "full" for a whole diffusers folder or "lora" for an adapter on `parent_id`.
    The same weights twice are one version: its id is the hash of the tree.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise CurateError(f"No file in {folder}: a generator version needs weights.")
    files = [
        (path.read_bytes(), MEDIA_TYPES.get(path.suffix, "application/octet-stream"))
        for path in paths
    ]
    hashes = queries.files.add_files(ws.session, ws.store, files)
    tree = {
        path.relative_to(folder).as_posix(): sha for path, sha in zip(paths, hashes, strict=True)
    }
    return queries.versions.add_generator_version(
        ws.session,
        generator_name=generator_name,
        family=family,
        files=tree,
        how_made=how_made,
        parent_id=parent_id,
        weights=weights,
        config=dict(config or {}),
        metrics=dict(metrics or {}),
        reward_model_id=reward_model_id,
    )


def version_folder(ws: Workspace, version_id: str) -> Path:
    """Return a folder in the cache with the version's own files, each checked against its hash."""
    folder = ws.cache / "versions" / version_id
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary) / "whole"
        for name, sha in queries.versions.version_files(ws.session, version_id).items():
            content = ws.store.get(sha)
            if hashlib.sha256(content).hexdigest() != sha:
                raise CurateError(
                    f"{name} of generator version {version_id[:12]} is damaged in the store. "
                    "Run `curate doctor`."
                )
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not folder.exists():
            whole.rename(folder)  # whole or not at all, also when killed
    return folder


def load_version(ws: Workspace, version_id: str) -> Generator:
    """Open a version with every adapter of its ancestry merged: images are made from this."""
    version = ws.session.get(GeneratorVersion, version_id)
    if version is None:
        raise CurateError(f"No generator version {version_id!r}. See `curate generators list`.")
    if version.weights == "lora":
        assert version.parent_id is not None  # a CHECK of the table
        generator = load_version(ws, version.parent_id)
        lora.merge_lora(generator, version_folder(ws, version_id))
        return generator
    family = queries.versions.family_of(ws.session, version)
    return registry.load(family, str(version_folder(ws, version_id)))


def embedded_version(ws: Workspace) -> GeneratorVersion:
    """Return the shipped model's version in this workspace, adding it on first use."""
    return save_version(
        ws,
        WEIGHTS,
        generator_name="embedded",
        family="text-to-image",
        how_made="embedded",
    )


def import_version(
    ws: Workspace, base: str, *, unet: str | None = None, name: str | None = None
) -> GeneratorVersion:
    """Add a diffusers folder or hub name, with an optional separate U-Net, as a version."""
    generator = registry.load("text-to-image", base, unet=unet)
    with tempfile.TemporaryDirectory(dir=ws.cache) as temporary:
        generator.save(Path(temporary))
        return save_version(
            ws,
            Path(temporary),
            generator_name=name or Path(base).name,
            family=generator.family,
            how_made="imported",
            config={"base": base, "unet": unet},
        )


def save_merged(ws: Workspace, version_id: str, folder: Path) -> None:
    """Write a version's merged weights as a diffusers folder of its own."""
    if folder.exists() and any(folder.iterdir()):
        raise CurateError(f"{folder} is not empty. Name a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary) / "whole"
        load_version(ws, version_id).save(whole)
        shutil.rmtree(folder, ignore_errors=True)
        whole.rename(folder)
