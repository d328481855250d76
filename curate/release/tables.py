"""The tables of a release: MINIM's data.csv, Hugging Face's metadata.csv, and what was left out."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from annotation.csv_file import as_meant, defused
from curate.release.entries import Entry
from curate.release.selection import Decision

MINIM = "data.csv"


def columns_of(entry: Entry, *, simulated_ratings: bool) -> dict[str, Any]:
    """Return what every format says of an image, beside its pixels."""
    return {
        "text": entry.text,
        "modality": entry.modality,
        "label": entry.label,
        "score": entry.score,
        "origin": entry.origin,
        "simulated_ratings": simulated_ratings,
        "split": entry.split,
        "group": entry.group,
        "source": entry.source,
        "licence": entry.licence,
    }


def minim_csv(entries: Sequence[Entry]) -> bytes:
    """Return MINIM's table, `path,Text,modality` and more, as `curate import` reads it."""
    header = ["path", "Text", "modality", "label", "origin", "split"]
    rows = ([e.path, e.text, e.modality, e.label, e.origin, e.split] for e in entries)
    return csv_bytes(header, rows)


def imagefolder_csv(entries: Sequence[Entry], folder: str, *, simulated_ratings: bool) -> bytes:
    """Return what `datasets.load_dataset("imagefolder", ...)` reads beside the images."""
    described = [
        {
            "file_name": entry.path.removeprefix(f"{folder}/"),
            **columns_of(entry, simulated_ratings=simulated_ratings),
        }
        for entry in entries
    ]
    return csv_bytes(list(described[0]), (row.values() for row in described))


def rejected_csv(decisions: Sequence[Decision]) -> bytes:
    """Return every image that was left out, with the reason."""
    header = ["item_key", "modality", "text", "label", "version_id", "seed"]
    rows = (
        [
            decision.image.item_key,
            decision.image.modality,
            decision.image.text,
            decision.image.label,
            decision.image.version_id,
            decision.image.seed,
            decision.image.score,
            decision.threshold,
            decision.reason,
        ]
        for decision in decisions
        if not decision.kept
    )
    return csv_bytes([*header, "score", "threshold", "reason"], rows)


def csv_bytes(header: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    """Return a table in which no cell is a formula: an apostrophe stands before such texts."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(["" if cell is None else defused(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def has_defused(content: bytes) -> bool:
    """Tell whether an apostrophe was put before a text of this table."""
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    return any(as_meant(cell) != cell for row in rows for cell in row)


def read_csv(content: bytes, *, are_defused: bool) -> list[dict[str, str]]:
    """Return a table's rows; `are_defused`, texts are what they were before `csv_bytes`.

    Releases of curate 0.2.0 have them bare, and a manifest says where an apostrophe was put.
    """
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    meant = as_meant if are_defused else str
    return [{name: meant(cell or "") for name, cell in row.items()} for row in rows]
