"""Which images of a table may go in: each decoded once, compared with the others and the workspace.

Nothing is written here. Two images are the same when their pixels are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from curate.samples.marks import says_synthetic
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
    is_further: bool = False  # another caption of an image that has one

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
    """Read a row's file, shown with condition images {role: SHA-256}; raises Refused.

    What says itself that it is synthetic is never taken for real.
    """
    if not config.synthetic and row.file.is_file() and says_synthetic(row.file):
        raise Refused(
            "the file is marked as synthetic (digital source type trainedAlgorithmicMedia, or "
            "DICOM's SyntheticData), and imported images count as real; leave it out, or import "
            "it with --synthetic --generator NAME"
        )
    found = [
        Candidate(
            row=row,
            index=picture.index,
            pixels_sha256=pixels_hash(picture.array),
            patient=row.patient or picture.patient,
            conditions=conditions,
        )
        for picture in pictures_of(row.file, row.path, config, pseudonym, say, row.modality)
    ]
    if not found:
        raise Refused("every slice has a single grey level")
    return found


def without_doubles(
    candidates: Iterable[Candidate], refuse: Callable[[int, str], None]
) -> list[Candidate]:
    """Return one candidate per image and caption. Of those that contradict each other, none."""
    by_pixels: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_pixels.setdefault(candidate.pixels_sha256, []).append(candidate)
    singles: list[Candidate] = []
    for same in by_pixels.values():
        odd = next(
            (
                (other, name)
                for other in same[1:]
                for name in FACTS
                if same[0].fact(name) != other.fact(name)
            ),
            None,
        )
        if odd is not None:
            first, (other, name) = same[0], odd
            for candidate in same:
                refuse(
                    candidate.row.line,
                    f"conflict: one image, two rows: line {first.row.line} ({first.name}) says "
                    f"{name} {first.fact(name)!r}, line {other.row.line} ({other.name}) says "
                    f"{other.fact(name)!r}; neither is taken",
                )
            continue
        captions: dict[str, Candidate] = {}
        for candidate in same:
            first = captions.get(candidate.row.text, same[0])
            row, before = candidate.row, first.row
            says_more = row.text != before.text and row.text and same[0].row.text
            is_caption = says_more and (row.record, candidate.conditions) == (
                before.record,
                first.conditions,
            )
            if captions and not is_caption:
                seen = "the file" if candidate.row.file == first.row.file else "the pixels"
                seen += "" if seen == "the file" else f" of {first.name}"
                refuse(
                    candidate.row.line,
                    f"duplicate: {candidate.name} is {seen} of line {first.row.line}",
                )
                continue
            captions[candidate.row.text] = replace(candidate, is_further=bool(captions))
        singles += captions.values()
    return singles


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Candidates by what is to be done with them."""

    new: list[Candidate]
    known: list[Candidate]
    stored_as: Mapping[str, str]  # SHA-256 of the stored file, by the pixels of what is known
    filled_in: Mapping[UUID, Mapping[str, Any]]  # columns that a stored image lacked


def sort_out(
    candidates: Sequence[Candidate],
    stored: Mapping[str, Sequence[tuple[Image, Prompt]]],
    conditions: Mapping[str, Mapping[str, str]],
    refuse: Callable[[int, str], None],
) -> Sorted:
    """Tell new images from those in the workspace. What contradicts the workspace is refused.

    Another text is a further caption where the table has the one that is stored, too; else it may
    be a mistake. `conditions` are the stored prompts' condition images, {prompt: {role: SHA-256}}.
    """
    in_table = {(candidate.pixels_sha256, candidate.row.text) for candidate in candidates}
    new: list[Candidate] = []
    known: list[Candidate] = []
    stored_as: dict[str, str] = {}
    filled_in: dict[UUID, dict[str, Any]] = {}
    for candidate in candidates:
        pixels, text = candidate.pixels_sha256, candidate.row.text
        captions = {prompt.text: (image, prompt) for image, prompt in stored.get(pixels, ())}
        if not captions:
            new.append(candidate)
            continue
        image, prompt = captions.get(text) or next(iter(captions.values()))
        is_further = text not in captions and any((pixels, one) in in_table for one in captions)
        had = conditions.get(prompt.id, {})
        if difference := _difference(candidate, image, prompt, had, but_text=is_further):
            refuse(candidate.row.line, difference)
            continue
        if is_further:
            new.append(replace(candidate, is_further=True))
            continue
        known.append(candidate)
        stored_as[pixels] = image.file_sha256
        lacking = {
            name: candidate.fact(name)
            for name in FILLED_IN_LATER
            if getattr(image, name) is None and candidate.fact(name) is not None
        }
        if lacking:
            filled_in[image.id] = lacking
    return Sorted(new=new, known=known, stored_as=stored_as, filled_in=filled_in)


def _difference(
    candidate: Candidate,
    image: Image,
    prompt: Prompt,
    conditions: Mapping[str, str],
    *,
    but_text: bool,
) -> str | None:
    row = candidate.row
    said: list[tuple[str, Any, Any]] = [
        ("modality", prompt.modality, row.modality),
        ("Text", prompt.text, prompt.text if but_text else row.text),
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
