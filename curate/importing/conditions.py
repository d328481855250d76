"""Condition images that a table names: a file beside it, or something the workspace has.

A file becomes what an import would make of it: a PNG without metadata, or NIfTI of a volume. In the
role `mask` a pixel is a class: a palette's indices are kept, its colours are not.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image as Pillow

from curate.importing.check import pictures_of
from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.nifti import SUFFIXES, open_nifti
from curate.importing.patients import pseudonym
from curate.importing.picture import Array, Picture
from curate.importing.rows import file_in
from curate.importing.volumes import volume_picture
from curate.samples.pixels import pixels_hash, png_bytes
from curate.workspace import Workspace
from db import queries
from db.queries.prompts import NewPrompt

LABEL_ROLE = "mask"
SHA256 = re.compile(r"[0-9a-f]{64}")
REMEMBERED = 20_000  # files of a table whose hashes are not computed again


@dataclass(frozen=True)
class Condition:
    """A condition image in the store, and which image of the workspace it is, if it is one."""

    file_sha256: str
    image_id: UUID | None = None


def new_prompt(
    modality: str,
    text: str,
    label: str | None,
    record: Mapping[str, Any],
    conditions: Mapping[str, Condition],
) -> NewPrompt:
    """Return what a row of a table asks for, or shows."""
    return NewPrompt(
        modality=modality,
        text=text,
        label=label,
        record=record,
        conditions={role: found.file_sha256 for role, found in conditions.items()},
        images={role: found.image_id for role, found in conditions.items() if found.image_id},
    )


class ConditionImages:
    """Finds what a table's cells name. Files are put into the store unless `keep` is False."""

    def __init__(
        self,
        ws: Workspace,
        folder: Path,
        config: ImportConfig | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self._ws, self._folder, self._keep = ws, folder.resolve(), keep
        self._config = config or ImportConfig()
        self._known: dict[tuple[bool, bool, str], Condition] = {}

    def of(self, named: Mapping[str, str], modality: str = "") -> dict[str, Condition]:
        """Return {role: its image} of {role: what a cell says}; raises Refused.

        The modality says whether a volume's numbers are HU.
        """
        return {role: self._found(role, written, modality) for role, written in named.items()}

    def _found(self, role: str, written: str, modality: str) -> Condition:
        labels = role == LABEL_ROLE
        known = (labels, modality.endswith("CT"), written)
        if known not in self._known:
            if len(self._known) == REMEMBERED:
                self._known.clear()
            try:
                self._known[known] = self._look(written, modality, labels=labels)
            except Refused as reason:
                raise Refused(f"{role}: {reason}") from reason
        return self._known[known]

    def _look(self, written: str, modality: str, *, labels: bool) -> Condition:
        session = self._ws.session
        if SHA256.fullmatch(written):
            if not queries.files.has_file(session, written):
                raise Refused(f"no file {written[:12]} in the workspace")
            images = queries.images.images_of_files(session, [written]).get(written, [])
            return Condition(written, images[0][0].id if images else None)
        image_id = _image_id(written)
        if image_id is not None:
            found = queries.images.images_by_id(session, [image_id]).get(image_id)
            if found is None:
                raise Refused(f"no image {written} in the workspace")
            return Condition(found[0].file_sha256, image_id)
        return self._from_file(written, modality, labels=labels)

    def _from_file(self, written: str, modality: str, *, labels: bool) -> Condition:
        file = file_in(self._folder, written, lambda _: None, folders=True)
        picture = self._picture(file, written, modality, labels=labels)
        session = self._ws.session
        if self._keep:
            [sha256] = queries.files.add_files(
                session, self._ws.store, [(picture.encoded, picture.media_type)]
            )
        else:
            sha256 = hashlib.sha256(picture.encoded).hexdigest()
        pixels = pixels_hash(picture.array)
        image = queries.images.real_images_with_pixels(session, [pixels]).get(pixels)
        return Condition(sha256, image[0].id if image else None)

    def _picture(self, file: Path, written: str, modality: str, *, labels: bool) -> Picture:
        names = partial(pseudonym, self._ws.folder)
        if _is_volume(file, self._config):
            return volume_picture(
                file, self._config, names, lambda _: None, modality=modality, labels=labels
            )
        if labels and (classes := _palette_indices(file)) is not None:
            return Picture(encoded=png_bytes(classes), array=classes)
        config = replace(self._config, kind="picture")
        pictures = list(pictures_of(file, written, config, names, lambda _: None))
        if len(pictures) != 1:
            raise Refused(f"{written} holds {len(pictures)} pictures, and a condition is one")
        [picture] = pictures
        if labels and picture.array.ndim == 3:
            raise Refused(f"{written} is in colour: a mask has one channel, of class numbers")
        return picture


def _is_volume(file: Path, config: ImportConfig) -> bool:
    """Say whether a condition is kept whole: a folder, or NIfTI of which no slice was chosen."""
    if file.is_dir():
        return True
    is_nifti = file.name.lower().endswith(SUFFIXES)
    chosen = config.kind != "volume" and config.slice is not None
    return is_nifti and not chosen and open_nifti(file, config, lambda _: None).raw.shape[0] > 1


def _image_id(written: str) -> UUID | None:
    try:
        return UUID(written)
    except ValueError:
        return None


def _palette_indices(file: Path) -> Array | None:
    try:
        with Pillow.open(BytesIO(file.read_bytes())) as image:
            return np.asarray(image) if image.mode == "P" else None
    except (OSError, SyntaxError, ValueError):
        return None  # reading it as a picture says what is wrong
