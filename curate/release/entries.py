"""The images of a release folder, synthetic and real, as its tables and formats list them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from uuid import UUID

from curate.release.splits import ORDER, TRAIN, Member, split_by_group, split_of_imported
from curate.samples.formats import EXTENSIONS
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt
from db.queries.images import ScoredImage

IMAGES = "images"  # the folder that metadata.csv describes and lies in


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image of a release."""

    path: str  # in the folder, "/" between the parts
    image_id: UUID
    file_sha256: str
    origin: str  # "synthetic" or "real"
    modality: str
    text: str
    label: str | None
    score: float | None  # None: a real image, which no reward model chose
    split: str  # "train", "validation" or "test"
    group: str  # images of one group are all in one split: of one prompt, or of one patient
    source: str | None = None  # of a real image, as its table said
    licence: str | None = None

    @property
    def stem(self) -> str:
        """Return the file's name without its end."""
        return PurePosixPath(self.path).name.partition(".")[0]

    @property
    def extension(self) -> str:
        """Return ".png", or ".nii.gz" for what a PNG cannot hold."""
        return PurePosixPath(self.path).name.removeprefix(self.stem)


def entries_of(
    ws: Workspace,
    kept: Sequence[ScoredImage],
    real: Sequence[tuple[Image, Prompt]],
    shares: Mapping[str, float],
    twins: Mapping[str, set[str]],
) -> list[Entry]:
    """Return the images by path. `shares` are of the splits; a single one adds no folder.

    A prompt goes with the patients whose images are its conditions, so that no patient is on two
    sides; so do prompts with one condition image, and an image with its `twins` (names of what it
    shares, by item key). A real image that was imported for training stays there, and what shows a
    patient's image, an edit for one, goes where that patient was imported for.
    """
    given = queries.prompts.conditions_of(ws.session, [image.prompt_id for image in kept])
    behind = queries.prompts.images_behind(ws.session, [image.prompt_id for image in kept])
    members = [
        Member(
            image.item_key,
            {
                f"prompt {image.prompt_id}",
                *_named([one.patient for one in behind[image.prompt_id]]),
                *(f"condition image {file}" for file in given.get(image.prompt_id, {}).values()),
                *twins.get(image.item_key, ()),
            },
            max(
                (split_of_imported(one.split, shares) for one in behind[image.prompt_id]),
                key=lambda split: ORDER.index(split) if split else -1,
                default=None,
            ),
        )
        for image in kept
    ] + [
        Member(
            str(image.pixels_sha256),
            _named([image.patient]) or {f"image {image.pixels_sha256}"},
            TRAIN if image.split == TRAIN else None,
        )
        for image, _ in real
    ]
    places = split_by_group(members, shares)
    synthetic = [
        _synthetic(image, split, group, len(shares) > 1)
        for image, (split, group) in zip(kept, places, strict=False)
    ]
    originals = [
        _real(image, prompt, split, group, len(shares) > 1)
        for (image, prompt), (split, group) in zip(real, places[len(kept) :], strict=True)
    ]
    entries = [*synthetic, *originals]
    types = queries.files.media_types(ws.session, [entry.file_sha256 for entry in entries])
    named = [
        replace(entry, path=entry.path + EXTENSIONS[types[entry.file_sha256]]) for entry in entries
    ]
    return sorted(named, key=lambda entry: entry.path)


def real_for_release(ws: Workspace) -> list[tuple[Image, Prompt]]:
    """Return the real images that may be mixed in: each once, none held out for judging."""
    rows = queries.images.real_images(ws.session, splits=(TRAIN, None))
    return list({image.file_sha256: (image, prompt) for image, prompt in rows}.values())


def _named(patients: Iterable[str | None]) -> set[str]:
    return {f"patient {patient}" for patient in patients if patient}


def _synthetic(image: ScoredImage, split: str, group: str, in_splits: bool) -> Entry:
    return Entry(
        path=_path(image.modality, image.file_sha256, split if in_splits else ""),
        image_id=image.image_id,
        file_sha256=image.file_sha256,
        origin="synthetic",
        modality=image.modality,
        text=image.text,
        label=image.label,
        score=image.score,
        split=split,
        group=group,
    )


def _real(image: Image, prompt: Prompt, split: str, group: str, in_splits: bool) -> Entry:
    return Entry(
        path=_path(f"{prompt.modality}-real", image.file_sha256, split if in_splits else ""),
        image_id=image.id,
        file_sha256=image.file_sha256,
        origin="real",
        modality=prompt.modality,
        text=prompt.text,
        label=prompt.label,
        score=None,
        split=split,
        group=group,
        source=image.source,
        licence=image.licence,
    )


def _path(kind: str, sha256: str, split: str) -> str:
    """Return an image's place but for the end of its name: by split, if several, kind, content."""
    folder = re.sub(r"[^A-Za-z0-9]+", "-", kind).strip("-") or "other"
    return "/".join(part for part in (IMAGES, split, folder, f"{sha256[:24]}") if part)
