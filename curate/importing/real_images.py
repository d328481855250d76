"""`curate import`: a table of real images to files and rows.

Two passes: the first reads every image and writes nothing, the second keeps the good ones, files
before rows, in batches. Killed and repeated, it ends with the same rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curate.errors import CurateError
from curate.importing.check import (
    Candidate,
    Sorted,
    candidates_of,
    pictures_of,
    sort_out,
    without_doubles,
)
from curate.importing.conditions import ConditionImages, new_prompt
from curate.importing.config import ImportConfig
from curate.importing.dicom import Pseudonym
from curate.importing.errors import Refused
from curate.importing.patients import SALT, pseudonym
from curate.importing.picture import Picture
from curate.importing.rows import ImageRow, ImageRows, read_rows
from curate.importing.table import Remark, remark_on
from curate.progress import Advance, progress
from curate.samples.pixels import pixels_hash
from curate.verified import is_whole
from curate.workspace import Workspace
from db import queries
from db.engine import Session
from db.hashing import json_hash
from db.models import Image, Prompt
from db.queries.prompts import NewPrompt

IMAGES_A_BATCH = 64
StoredOf = Callable[[Session, Sequence[str]], Mapping[str, Sequence[tuple[Image, Prompt]]]]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did, and every line it did not take."""

    imported: int  # images; a volume may give several
    already_there: int
    filled_in: int  # of those already there, how many got a patient, split, source or licence
    restored: int  # of those already there, how many files were lost or damaged, and are back
    refused: list[Remark]  # in the order of lines
    notes: list[Remark]
    stopped: bool  # --strict, and something was refused: nothing was written
    dry_run: bool  # only checked: nothing was written
    pixels: Mapping[int, str]  # of the images that are there now, by line (a volume's last slice)


def import_table(ws: Workspace, table: Path, config: ImportConfig) -> Imported:
    """Import the images that a CSV names; CurateError when the table itself cannot be read."""
    if config.generator and not config.synthetic:
        raise CurateError("--generator names what made images elsewhere: give --synthetic, too.")
    return import_rows(ws, table, read_rows(table, config), config)


def import_rows(ws: Workspace, table: Path, read: ImageRows, config: ImportConfig) -> Imported:
    """Import the images of rows that were read from a table in some way."""
    known = (ws.folder / SALT).exists()  # a dry run makes no salt: then no patient is known yet
    names = str if config.dry_run and not known else partial(pseudonym, ws.folder)
    sorted_out = checked(ws, table, read, config, names, queries.images.captions_of_pixels)
    stopped = config.strict and bool(read.refused)
    restored = 0 if stopped or config.dry_run else restore(ws, sorted_out, config, names)
    if not stopped and not config.dry_run:
        conditions = ConditionImages(ws, config.folder or table.parent, config, keep=True)
        _write(ws, sorted_out, config, names, conditions)
        there = {"images": len(sorted_out.new) + len(sorted_out.known)}
        queries.audit.record_result(ws.session, "import", queries.audit.file_named(table), there)
    return outcome(sorted_out, read, restored, stopped=stopped, dry_run=config.dry_run)


def outcome(
    sorted_out: Sorted, read: ImageRows, restored: int, *, stopped: bool, dry_run: bool
) -> Imported:
    """Return what an import did, in numbers and lines."""
    return Imported(
        imported=0 if stopped else len(sorted_out.new),
        already_there=len(sorted_out.known),
        filled_in=0 if stopped else len(sorted_out.filled_in),
        restored=restored,
        refused=sorted(read.refused, key=lambda remark: remark.line),
        notes=sorted(dict.fromkeys(read.notes), key=lambda remark: remark.line),
        stopped=stopped,
        dry_run=dry_run,
        pixels={
            candidate.row.line: candidate.pixels_sha256
            for candidate in (*sorted_out.new, *sorted_out.known)
        },
    )


def checked(
    ws: Workspace,
    table: Path,
    read: ImageRows,
    config: ImportConfig,
    names: Pseudonym,
    stored_of: StoredOf,
) -> Sorted:
    """Read every image, and compare it with what is stored under its pixels.

    Adds to the refused lines and the notes of `read`.
    """
    refuse, note = remark_on(table.name, read.refused), remark_on(table.name, read.notes)
    candidates: list[Candidate] = []
    looked = ConditionImages(ws, config.folder or table.parent, config, keep=False)
    with progress(len(read.rows), "rows checked") as advance:
        for row in read.rows:
            try:
                conditions = {
                    role: found.file_sha256
                    for role, found in looked.of(row.conditions, row.modality).items()
                }
                say = partial(note, row.line)
                candidates += candidates_of(row, config, names, say, conditions)
            except Refused as reason:
                refuse(row.line, str(reason))
            advance(1)
    singles = without_doubles(candidates, refuse)
    stored = stored_of(ws.session, [candidate.pixels_sha256 for candidate in singles])
    prompt_ids = [prompt.id for rows in stored.values() for _, prompt in rows]
    return sort_out(singles, stored, queries.prompts.conditions_of(ws.session, prompt_ids), refuse)


def restore(ws: Workspace, sorted_out: Sorted, config: ImportConfig, names: Pseudonym) -> int:
    """Put files back that known images have lost; return how many are whole again."""
    lost = [
        candidate
        for candidate in sorted_out.known
        if not is_whole(ws, sorted_out.stored_as[candidate.pixels_sha256])
    ]
    num_restored = 0
    for candidate, picture in read_again(lost, config, names):
        [sha256] = ws.store.put_many([picture.encoded])
        num_restored += sha256 == sorted_out.stored_as[candidate.pixels_sha256]
    return num_restored


def _write(
    ws: Workspace,
    sorted_out: Sorted,
    config: ImportConfig,
    names: Pseudonym,
    conditions: ConditionImages,
) -> None:
    queries.images.fill_in(ws.session, sorted_out.filled_in)
    batch: list[tuple[Candidate, Picture]] = []
    with progress(len(sorted_out.new), "images kept") as advance:
        for pair in read_again(sorted_out.new, config, names):
            batch.append(pair)
            if len(batch) == IMAGES_A_BATCH:
                _keep(ws, batch, conditions, advance)
                batch = []
        if batch:
            _keep(ws, batch, conditions, advance)


def read_again(
    candidates: list[Candidate], config: ImportConfig, names: Pseudonym
) -> Iterator[tuple[Candidate, Picture]]:
    """Yield each candidate with its picture, one reading a file."""
    by_line: dict[int, dict[int | None, Candidate]] = {}
    for candidate in candidates:
        by_line.setdefault(candidate.row.line, {})[candidate.index] = candidate
    for of_one_row in by_line.values():
        row = next(iter(of_one_row.values())).row
        try:
            read = pictures_of(row.file, row.path, config, names, lambda _: None, row.modality)
            for picture in read:
                found = of_one_row.get(picture.index)
                if found is None:
                    continue
                if pixels_hash(picture.array) != found.pixels_sha256:
                    raise Refused("other pixels")
                yield found, picture
        except Refused as reason:
            raise _changed(row, reason) from reason


def _changed(row: ImageRow, reason: Refused) -> CurateError:
    return CurateError(
        f"{row.file} changed while it was being imported ({reason}). "
        "Wait until nothing writes to it, then run the same command again."
    )


def _keep(
    ws: Workspace,
    batch: list[tuple[Candidate, Picture]],
    conditions: ConditionImages,
    advance: Advance,
) -> None:
    """Make a batch durable: the files, then the rows."""
    files = [(picture.encoded, picture.media_type) for _, picture in batch]
    hashes = queries.files.add_files(ws.session, ws.store, files)
    prompts = [prompt_of(candidate, conditions) for candidate, _ in batch]
    images = [
        _image(candidate, picture, sha, prompt.prompt_id)
        for (candidate, picture), sha, prompt in zip(batch, hashes, prompts, strict=True)
    ]
    queries.images.add_real_images(ws.session, prompts, images)
    advance(len(batch))


def prompt_of(candidate: Candidate, conditions: ConditionImages) -> NewPrompt:
    """Return what a row shows, its condition images kept; CurateError where they have changed."""
    row = candidate.row
    try:
        kept = conditions.of(row.conditions, row.modality)
    except Refused as reason:
        raise _changed(row, reason) from reason
    prompt = new_prompt(row.modality, row.text, row.label, row.record, kept)
    if prompt.conditions != candidate.conditions:
        raise _changed(row, Refused("another condition image"))
    return prompt


def _image(candidate: Candidate, picture: Picture, sha256: str, prompt_id: str) -> Image:
    row = candidate.row
    return Image(
        file_sha256=sha256,
        pixels_sha256=candidate.pixels_sha256,
        origin="real",
        prompt_id=prompt_id,
        shape=picture.shape,
        unit="HU" if picture.kind == "HU" else "intensity",
        spacing_mm=picture.spacing_mm,
        affine=picture.affine,
        settings=picture.how,
        # one row an image and caption, ever
        item_key=queries.images.FURTHER + json_hash(["caption", candidate.pixels_sha256, prompt_id])
        if candidate.is_further
        else json_hash(["real", candidate.pixels_sha256]),
        source_path=candidate.name,
        patient=candidate.patient,
        split=row.split,
        source=row.source,
        licence=row.licence,
    )
