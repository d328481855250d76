"""The manifest: what a release holds, byte for byte, and how its images can be made again."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.outside import relative_name

MANIFEST = "manifest.json"
DEFUSED = "defused_cells"  # what was done to the tables, where a text looked like a formula
FORMAT = "curate-release-1"


@dataclass(frozen=True)
class ManifestFile:
    """One file of the release folder, other than the manifest."""

    path: str  # relative, "/" between the parts
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class ManifestPrompt:
    """What an image should show; its condition images are named, not held."""

    id: str
    modality: str
    text: str
    label: str | None
    record: Mapping[str, Any]
    conditions: Mapping[str, str]  # role -> SHA-256 of the condition image


@dataclass(frozen=True)
class ManifestImage:
    """One image of the release with all that made it."""

    path: str
    sha256: str  # of the file in the release
    stored_sha256: str  # of the file in the store: the same, but for the mark
    pixels_sha256: str
    item_key: str
    prompt: ManifestPrompt
    version_id: str
    seed: int
    settings: Mapping[str, Any]
    score: float
    reward_model_id: str
    environment: Mapping[str, Any]  # libraries and device that made the bytes
    label_probability: float | None = None  # of the requested label, where a label check was made
    is_signed: bool = False  # the file holds a signature, and its time: no other has its bytes

    @property
    def is_marked(self) -> bool:
        """Tell whether the file says that it is synthetic, which the stored one does not."""
        return self.sha256 != self.stored_sha256


@dataclass(frozen=True)
class Manifest:
    """A manifest in plain values; `raw` is all that it says."""

    release_id: str  # SHA-256 of the manifest's bytes
    files: tuple[ManifestFile, ...]
    images: tuple[ManifestImage, ...]
    raw: Mapping[str, Any]


def manifest_bytes(content: Mapping[str, Any]) -> bytes:
    """Return the one spelling of a manifest: equal content gives equal bytes."""
    plain = {"format": FORMAT, **_finite(dict(content))}
    return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(path: Path) -> Manifest:
    """Read a release's manifest; `path` is the manifest or its folder.

    Raises CurateError when it is missing, is no manifest or names files outside its folder.
    """
    file = path / MANIFEST if path.is_dir() else path
    try:
        encoded = file.read_bytes()
    except OSError as error:
        raise CurateError(
            f"No manifest at {file}. Name a folder that `curate export` made."
        ) from error
    return parse_manifest(encoded, name=str(file))


def parse_manifest(encoded: bytes, *, name: str) -> Manifest:
    """Return a manifest from its bytes; `name` is for the CurateError when they are none."""
    try:
        raw = json.loads(encoded)
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']!r}, this curate reads {FORMAT!r}")
        files = tuple(ManifestFile(**values) for values in raw["files"])
        for entry in files:
            relative_name(entry.path)
        prompts = {id_: ManifestPrompt(id=id_, **values) for id_, values in raw["prompts"].items()}
        images = tuple(
            ManifestImage(
                path=relative_name(values["path"]),
                sha256=values["sha256"],
                stored_sha256=values.get("stored_sha256", values["sha256"]),  # 0.2.0 marked none
                pixels_sha256=values["pixels_sha256"],
                item_key=values["item_key"],
                prompt=prompts[values["prompt_id"]],
                version_id=values["version_id"],
                seed=values["seed"],
                settings=raw["settings"][values["settings_hash"]],
                score=values["score"],
                reward_model_id=values["reward_model_id"],
                environment=raw["environments"].get(values["environment_id"], {}),
                label_probability=values.get("label_probability"),
                is_signed=values.get("signed", False),
            )
            for values in raw["images"]
        )
        if len({image.path for image in images}) < len(images):
            raise ValueError("two images with one path")
        return Manifest(hashlib.sha256(encoded).hexdigest(), files, images, raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CurateError(
            f"{name} is not a complete manifest ({type(error).__name__}: {error}). "
            "It was altered or truncated; export the release again."
        ) from error


def _finite(value: Any) -> Any:
    """Replace numbers that JSON has no word for (a correlation of constants is NaN) by null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
