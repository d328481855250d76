"""Rows of MINIM's table (path,Text,modality) and its kin: what can be told without the pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from curate.errors import CurateError
from curate.importing.config import ImportConfig
from curate.importing.errors import Refused
from curate.importing.extra import named_conditions, with_extra_columns
from curate.importing.records import RECORD, Records, read_records, record_of
from curate.importing.table import Columns, Remark, Row, read_table, remark_on
from curate.modalities import NoModality, is_modality, resolve_modality
from generators.clinical.records import FieldMap, read_field_map
from generators.errors import GeneratorError

COLUMNS = Columns(
    spellings={
        "path": ("path", "image", "image_path", "file", "file_name", "filename"),
        "Text": ("text", "caption", "prompt", "description"),
        "modality": ("modality", "modal"),
        "label": ("label",),
        "patient": ("patient", "patient_id"),
        "split": ("split",),
        "source": ("source",),
        "licence": ("licence", "license"),
        "mask": ("mask",),
        "prior": ("prior",),
        RECORD: (RECORD,),
    },
    needed=("path", "Text"),
    free_text="Text",
    in_words=("Text", "label", "patient", "split"),
)
ROLES = ("mask", "prior")  # `source` says whence an image came; the role is `condition:source`
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """What a table says of one file."""

    line: int
    path: str  # as the table wrote it
    file: Path
    modality: str  # canonical
    text: str
    label: str | None
    patient: str | None
    split: str | None
    source: str | None
    licence: str | None
    record: Mapping[str, Any]
    conditions: Mapping[str, str]  # {role: as the table wrote it}


@dataclass(frozen=True, kw_only=True)
class ImageRows:
    """The good rows of a table, the refused lines, and notes."""

    rows: list[ImageRow]
    refused: list[Remark]
    notes: list[Remark]


def read_rows(path: Path, config: ImportConfig) -> ImageRows:
    """Read the table; CurateError when there is none or its header lacks path or Text.

    With a field map records are cleaned by it, and a table without Text says what they say.
    """
    if config.modality is not None:
        try:
            resolve_modality(config.modality, "", new=config.new_modalities)
        except NoModality as reason:
            raise CurateError(f"--modality: {reason}.") from reason
    fields = None if config.fields is None else read_field_map(config.fields)
    usual = COLUMNS if fields is None else replace(COLUMNS, needed=("path",))
    columns = with_extra_columns(usual, path)
    records = None if config.records is None else read_records(config.records)
    table = read_table(path, columns, partial(is_modality, new=config.new_modalities))
    folder = (config.folder or path.parent).resolve()
    rows: list[ImageRow] = []
    refused, notes = list(table.refused), list(table.notes)
    for row in table.rows:
        try:
            say = partial(remark_on(path.name, notes), row.line)
            said = _said_of_record(row, records, fields)
            rows.append(_image_row(row, folder, config, said, say))
        except (Refused, NoModality) as reason:
            refused.append(Remark(path.name, row.line, str(reason)))
    return ImageRows(rows=rows, refused=refused, notes=notes)


@dataclass(frozen=True)
class _SaidOfRecord:
    record: Mapping[str, Any]
    text: str  # of the record, by a field map


def _said_of_record(row: Row, records: Records | None, fields: FieldMap | None) -> _SaidOfRecord:
    """Return a row's record, cleaned by a field map and put into words, where there is a map."""
    record = record_of({**row.cells, "image": row.cells["path"]}, records)
    if fields is None:
        return _SaidOfRecord(record, "")
    try:
        known = fields.clean(record)
    except GeneratorError as error:
        raise Refused(f"its record: {str(error).removesuffix('.')}") from error
    return _SaidOfRecord(known, fields.build(known) if record else "")


def _image_row(
    row: Row,
    folder: Path,
    config: ImportConfig,
    said: "_SaidOfRecord",
    note: Callable[[str], None],
) -> ImageRow:
    cells = row.cells
    text = cells.get("Text") or said.text
    if not text and not config.unlabelled:
        raise Refused("Text is empty: describe what the image shows")
    split = cells.get("split", "")
    if split and split.casefold() not in SPLITS:
        raise Refused(f"split {split!r}: give train, val or test")
    return ImageRow(
        line=row.line,
        path=cells["path"],
        file=file_in(folder, cells["path"], note, folders=True),
        modality=resolve_modality(
            cells.get("modality", ""), text, default=config.modality, new=config.new_modalities
        ),
        text=text,
        label=cells.get("label") or None,
        patient=cells.get("patient") or None,
        split=SPLITS.get(split.casefold()),
        source=cells.get("source") or None,
        licence=cells.get("licence") or None,
        record=said.record,
        conditions=named_conditions(cells, ROLES),
    )


def file_in(
    folder: Path, written: str, note: Callable[[str], None], *, folders: bool = False
) -> Path:
    """Return the file that a table means, links followed; Refused when it is not in the folder.

    With `folders` it may be a folder inside it: one DICOM series. A path as Windows writes it, in
    parts that exist here, is followed and noted.
    """
    if not written:
        raise Refused("path is empty")
    folder = folder.resolve()
    try:
        parts = PureWindowsPath(written)
        if "\\" in written and not parts.drive and (folder / parts.as_posix()).exists():
            note(f"{written} is read as {parts.as_posix()}")
            written = parts.as_posix()
        file = (folder / written).resolve()
        if not file.is_relative_to(folder):
            raise Refused(f"{written} lies outside the data folder (--folder names another)")
        if not file.is_file() and not (folders and file.is_dir() and file != folder):
            likely = ""
            if file.parent.is_dir():  # one with the same name but for its suffix or its case
                named = {file.name.casefold(), file.stem.casefold()}
                near = [
                    other.name
                    for other in file.parent.iterdir()
                    if {other.name.casefold(), other.stem.casefold()} & named
                ]
                likely = f", but there is {near[0]}" if len(near) == 1 else ""
            raise Refused(f"{written}: no such file in the data folder{likely}")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a NUL
        if isinstance(error, Refused):
            raise
        raise Refused(f"{written!r} is not the path of a file ({error})") from error
    return file
