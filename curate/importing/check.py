"""Which images of a table may go in: each decoded once, compared with the others and the workspace.

Nothing is written here. Two images are the same when their pixels are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from curate.importing.config import ImportConfig
from curate.importing.dicom import Pseudonym, dicom_pictures, is_dicom
from curate.importing.errors import Refused
from curate.importing.nifti import SUFFIXES, nifti_pictures
from curate.importing.picture import Picture, Say
from curate.importing.plain_images import plain_picture
from curate.importing.rows import ImageRow
from curate.importing.volumes import volume_picture
from curate.samples.pixels import pixels_hash
from db.models import Image, Prompt

# What one image cannot have twice. Two captions of one image do not contradict each other.
FACTS = ("modality", "label", "patient", "split")
FILLED_IN_LATER = ("patient", "split", "source", "licence")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image of a row that can be read."""

    row: ImageRow
    index: int | None  # of the slice, in a volume
    pixels_sha256: str
    patient: str | None  # from the table, else a pseudonym from the file
    conditions: Mapping[str, str]  # {role: SHA-256}

    @property
    def name(self) -> str:
        """The path as written, with the slice behind it."""
        return self.row.path if self.index is None else f"{self.row.path}#{self.index}"

    def fact(self, name: str) -> str | None:
        """Return one of FACTS or FILLED_IN_LATER."""
        value: str | None = self.patient if name == "patient" else getattr(self.row, name)
        return value


def pictures_of(
    file: Path,
    written: str,
    config: ImportConfig,
    pseudonym: Pseudonym,
    say: Say,
    modality: str = "",
) -> Iterator[Picture]:
    """Yield what a file or a folder holds, which a table calls `written`; raises Refused."""
    try:
        if config.kind == "volume":
            yield volume_picture(file, config, pseudonym, say, modality=modality)
        elif file.is_dir():
            raise Refused(f"{written} is a folder: a DICOM series is read with --as volume")
        elif file.name.lower().endswith(SUFFIXES):
            yield from nifti_pictures(file, config, say)
        elif is_dicom(file):
            yield from dicom_pictures(file, config, pseudonym, say)
        else:
            yield plain_picture(file, config, say)
    except OSError as error:
        raise Refused(f"{written} cannot be read: {error.strerror or error}") from error


def candidates_of(
    row: ImageRow,
    config: ImportConfig,
    pseudonym: Pseudonym,
    say: Say,
    conditions: Mapping[str, str],
) -> list[Candidate]:
    """Read a row's file, shown with condition images {role: SHA-256}; raises Refused."""
    return [
        Candidate(
            row=row,
            index=picture.index,
            pixels_sha256=pixels_hash(picture.array),
            patient=row.patient or picture.patient,
            conditions=conditions,
        )
        for picture in pictures_of(row.file, row.path, config, pseudonym, say, row.modality)
    ]


def without_doubles(
    candidates: Iterable[Candidate], refuse: Callable[[int, str], None]
) -> list[Candidate]:
    """Return one candidate per image. Of those that contradict each other, none."""
    by_pixels: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_pixels.setdefault(candidate.pixels_sha256, []).append(candidate)
    singles: list[Candidate] = []
    for same in by_pixels.values():
        if contradiction := _contradiction(same):
            for candidate in same:
                refuse(candidate.row.line, contradiction)
            continue
        singles.append(same[0])
        for candidate in same[1:]:
            refuse(candidate.row.line, _double(same[0], candidate))
    return singles


def _contradiction(same: Sequence[Candidate]) -> str | None:
    first = same[0]
    for other in same[1:]:
        for name in FACTS:
            if first.fact(name) != other.fact(name):
                return (
                    f"conflict: one image, two rows: line {first.row.line} ({first.name}) says "
                    f"{name} {first.fact(name)!r}, line {other.row.line} ({other.name}) says "
                    f"{other.fact(name)!r}; neither is taken"
                )
    return None


def _double(first: Candidate, other: Candidate) -> str:
    same = "the file" if other.row.file == first.row.file else f"the pixels of {first.name}"
    return f"duplicate: {other.name} is {same} of line {first.row.line}"


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Candidates by what is to be done with them."""

    new: list[Candidate]
    known: list[Candidate]
    stored_as: Mapping[str, str]  # SHA-256 of the stored file, by the pixels of what is known
    filled_in: Mapping[UUID, Mapping[str, Any]]  # columns that a stored image lacked


def sort_out(
    candidates: Iterable[Candidate],
    stored: Mapping[str, tuple[Image, Prompt]],
    conditions: Mapping[str, Mapping[str, str]],
    refuse: Callable[[int, str], None],
) -> Sorted:
    """Tell new images from those in the workspace. What contradicts the workspace is refused.

    `conditions` are the stored prompts' condition images, {prompt: {role: SHA-256}}.
    """
    new: list[Candidate] = []
    known: list[Candidate] = []
    stored_as: dict[str, str] = {}
    filled_in: dict[UUID, dict[str, Any]] = {}
    for candidate in candidates:
        if candidate.pixels_sha256 not in stored:
            new.append(candidate)
            continue
        image, prompt = stored[candidate.pixels_sha256]
        if difference := _difference(candidate, image, prompt, conditions.get(prompt.id, {})):
            refuse(candidate.row.line, difference)
            continue
        known.append(candidate)
        stored_as[candidate.pixels_sha256] = image.file_sha256
        if lacking := _lacking(candidate, image):
            filled_in[image.id] = lacking
    return Sorted(new=new, known=known, stored_as=stored_as, filled_in=filled_in)


def _difference(
    candidate: Candidate, image: Image, prompt: Prompt, conditions: Mapping[str, str]
) -> str | None:
    row = candidate.row
    said: list[tuple[str, Any, Any]] = [
        ("modality", prompt.modality, row.modality),
        ("Text", prompt.text, row.text),
        ("label", prompt.label, row.label),
        ("record", prompt.record, row.record),
        ("condition images", conditions, candidate.conditions),
    ]
    for name in FILLED_IN_LATER:
        before, now = getattr(image, name), candidate.fact(name)
        said.append((name, before, now if before and now else before))
    for name, before, now in said:
        if before != now:
            return (
                f"conflict: the workspace has {candidate.name} already, imported from "
                f"{image.source_path} with {name} {before!r}; this row says {now!r}"
            )
    return None


def _lacking(candidate: Candidate, image: Image) -> dict[str, Any]:
    return {
        name: candidate.fact(name)
        for name in FILLED_IN_LATER
        if getattr(image, name) is None and candidate.fact(name) is not None
    }
