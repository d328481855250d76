"""A set of images to measure: from a workspace, a table (a release's too) or a plain folder.

Whoever made it: a set is its images, what they were asked to show, and where their bytes are.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from curate.errors import CurateError
from curate.importing.check import pictures_of
from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.rows import COLUMNS, file_in
from curate.importing.table import Columns, Remark, Row, header_of, read_table
from curate.modalities import canonical_modality
from curate.samples.stored import Bytes
from curate.workspace import Workspace
from db import queries
from db.models import Image, Prompt, Release
from db.queries.images import ScoredImage

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
TABLES = ("data.csv", "images/metadata.csv", "metadata.csv")  # of a folder: the first there is
NO_MODALITY = "images"  # of a table or folder that names none


@dataclass(frozen=True, kw_only=True)
class SetImage:
    """One image and what it shows, or was asked to show."""

    file_sha256: str  # its key in the set's files
    name: str  # the path in its table, or the image's id: how a person finds it
    modality: str
    label: str | None
    text: str
    patient: str | None = None
    prompt: str = ""  # images of one prompt are alike
    seed: int | None = None  # of a generated image, where it is known
    groups: Mapping[str, str] = field(default_factory=dict)  # a table's columns

    @property
    def shown(self) -> str:
        """Return modality and label as one name."""
        return self.modality if self.label is None else f"{self.modality} {self.label}"


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one origin; `store` and `cache` hold their bytes and features."""

    name: str
    images: tuple[SetImage, ...]
    store: Bytes
    cache: Path
    refused: tuple[str, ...] = ()  # rows that are no image, one line each

    @property
    def hashes(self) -> list[str]:
        """Return the keys of its files, in order."""
        return [image.file_sha256 for image in self.images]

    def of(self, wanted: Callable[[SetImage], bool]) -> "ImageSet":
        """Return the set of the images that are wanted."""
        return replace(self, images=tuple(image for image in self.images if wanted(image)))

    def sample(self, limit: int) -> "ImageSet":
        """Return a fair sample where there are more: by hash, which knows nothing of quality."""
        kept = set(sorted(self.hashes)[:limit])
        return self if len(self.images) <= limit else self.of(lambda i: i.file_sha256 in kept)


class FolderFiles:
    """Files where they lie, by the SHA-256 of their bytes; read as pictures are imported."""

    def __init__(self, config: ImportConfig) -> None:
        """Begin without files."""
        self.paths: dict[str, Path] = {}
        self.config = config

    def add(self, file: Path) -> str:
        """Take a file in and return its SHA-256; Refused where it is no picture."""
        self._picture(file)
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        self.paths[sha256] = file
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return a picture as PNG. Raises CurateError when the file has gone."""
        try:
            return self._picture(self.paths[sha256])
        except Refused as reason:
            raise CurateError(f"{self.paths[sha256]}: {reason}.") from reason

    def _picture(self, file: Path) -> bytes:
        found = pictures_of(file, file.name, self.config, str, lambda _: None)
        return next(iter(found)).encoded


def read_set(path: Path, *, cache: Path, only_synthetic: bool = False) -> ImageSet:
    """Return the images of a CSV, of a release's folder, or of a folder with a folder a label.

    A table needs a column `path`; `label`, `modality`, `Text` and `patient` say what is there to
    measure, and any other column can be a group. A plain folder is LABEL/FILE or
    MODALITY/LABEL/FILE. `only_synthetic` leaves out a release's real images. Raises CurateError
    when no image is found.
    """
    tables = [path / name for name in TABLES if (path / name).is_file()] if path.is_dir() else []
    table = tables[0] if tables else path
    if not table.exists():
        raise CurateError(f"No {path}: name a CSV with a column `path`, or a folder of images.")
    files, images, refused = FolderFiles(ImportConfig()), list[SetImage](), list[str]()
    for line, found in _of_folder(table) if table.is_dir() else _of_table(table, refused):
        try:
            if only_synthetic and found.groups.get("origin") == "real":
                continue
            file = file_in(table if table.is_dir() else table.parent, found.name, lambda _: None)
            images.append(replace(found, file_sha256=files.add(file)))
        except Refused as reason:
            refused.append(str(Remark(table.name, line, str(reason))))
    if not images:
        first = f" First: {refused[0]}." if refused else ""
        raise CurateError(
            f"{path}: no image to measure among {len(refused)} rows.{first} Name a CSV with a "
            "column `path`, or a folder of images."
        )
    return ImageSet(
        name=path.name, images=tuple(images), store=files, cache=cache, refused=tuple(refused)
    )


def _of_table(table: Path, refused: list[str]) -> Iterable[tuple[int, SetImage]]:
    usual = {name: spellings for name, spellings in COLUMNS.spellings.items() if name != "record"}
    taken = {spelling for spellings in usual.values() for spelling in spellings}
    others = {name: (name.casefold(),) for name in header_of(table) if name.casefold() not in taken}
    columns = Columns(
        spellings={**usual, **{name: how for name, how in others.items() if name.strip()}},
        needed=("path",),
        free_text="Text",
        in_words=("label", "patient"),
    )
    read = read_table(table, columns, lambda _: True)
    refused += map(str, read.refused)
    for row in read.rows:
        yield row.line, _image_of(row)


def _image_of(row: Row) -> SetImage:
    cells = row.cells
    modality, text = cells.get("modality", ""), cells.get("Text", "")
    label = cells.get("label") or None
    return SetImage(
        file_sha256="",
        name=cells["path"],
        modality=canonical_modality(modality) or modality or NO_MODALITY,
        label=label,
        text=text,
        patient=cells.get("patient") or None,
        prompt=f"{modality} {label} {text}",
        groups={name: value for name, value in cells.items() if value},
    )


def _of_folder(folder: Path) -> Iterable[tuple[int, SetImage]]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    for place, file in enumerate(files, 1):
        name = file.relative_to(folder).as_posix()
        above = name.split("/")[:-1]
        label, modality = above[-1] if above else None, above[-2] if len(above) > 1 else ""
        yield (
            place,
            SetImage(
                file_sha256="",
                name=name,
                modality=canonical_modality(modality) or modality or NO_MODALITY,
                label=label,
                text="",
                prompt=f"{modality} {label}",
            ),
        )


def made_image(row: ScoredImage) -> SetImage:
    """Return a synthetic image as a query found it, named by its id."""
    return SetImage(
        file_sha256=row.file_sha256,
        name=str(row.image_id),
        modality=row.modality,
        label=row.label,
        text=row.text,
        prompt=row.prompt_id,
        seed=row.seed,
    )


def version_set(ws: Workspace, version_id: str, *, limit: int | None = None) -> ImageSet:
    """Return images of a generator version, a fair sample where `limit` is fewer than all."""
    rows = queries.images.synthetic_images(
        ws.session, reward_model_id=None, version_id=version_id, limit=limit
    )
    images = tuple(made_image(row) for row in rows)
    return ImageSet(name=version_id[:12], images=images, store=ws.store, cache=ws.cache)


def decided_sets(ws: Workspace, release: Release) -> tuple[ImageSet, ImageSet]:
    """Return what was offered to a release, unvetted, and what of it was kept."""
    decisions = queries.releases.decisions_of(ws.session, release.id)
    found = queries.images.synthetic_images_by_id(
        ws.session, [one.image_id for one in decisions], reward_model_id=None
    )
    kept = {str(one.image_id) for one in decisions if one.decision == "kept"}
    offered = ImageSet(
        name=f"offered to {release.name[:12]}",
        images=tuple(made_image(found[one.image_id]) for one in decisions if one.image_id in found),
        store=ws.store,
        cache=ws.cache,
    )
    return offered, replace(
        offered.of(lambda image: image.name in kept), name=f"kept in {release.name[:12]}"
    )


def set_image(image: Image, prompt: Prompt) -> SetImage:
    """Return a workspace's image; its groups are its clinical record's columns and its source."""
    return SetImage(
        file_sha256=image.file_sha256,
        name=image.source_path or str(image.id),
        modality=prompt.modality,
        label=prompt.label,
        text=prompt.text,
        patient=image.patient,
        prompt=prompt.id,
        seed=image.seed,
        groups={
            **{name: str(value) for name, value in prompt.record.items()},
            **({"source": image.source} if image.source else {}),
        },
    )


def real_set(ws: Workspace, splits: Sequence[str | None], *, limit: int | None = None) -> ImageSet:
    """Return the workspace's real images of some splits (None: those without one)."""
    found = queries.images.real_images(ws.session, splits=splits, limit=limit)
    images = tuple(set_image(image, prompt) for image, prompt in found)
    named = "real " + " and ".join(split for split in splits if split)
    return ImageSet(name=named, images=images, store=ws.store, cache=ws.cache)


def patients_on_both_sides(train: ImageSet, test: ImageSet) -> list[str]:
    """Return who has images in both sets, by patient or by the very same file."""
    sides = [
        {image.patient for image in side.images if image.patient} | set(side.hashes)
        for side in (train, test)
    ]
    return sorted(sides[0] & sides[1])
