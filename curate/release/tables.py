"""The tables of a release: MINIM's data.csv, Hugging Face's metadata.csv, and what was left out."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from curate.release.entries import Entry
from curate.release.selection import Decision


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
    rows = ([e.path, e.text, e.modality, e.label or "", e.origin, e.split] for e in entries)
    return _csv(header, rows)


def imagefolder_csv(entries: Sequence[Entry], folder: str, *, simulated_ratings: bool) -> bytes:
    """Return what `datasets.load_dataset("imagefolder", ...)` reads beside the images."""
    described = [
        {
            "file_name": entry.path.removeprefix(f"{folder}/"),
            **columns_of(entry, simulated_ratings=simulated_ratings),
        }
        for entry in entries
    ]
    rows = (["" if value is None else value for value in row.values()] for row in described)
    return _csv(list(described[0]), rows)


def rejected_csv(decisions: Sequence[Decision]) -> bytes:
    """Return every image that was left out, with the reason."""
    header = ["item_key", "modality", "text", "label", "version_id", "seed"]
    rows = (
        [
            decision.image.item_key,
            decision.image.modality,
            decision.image.text,
            decision.image.label or "",
            decision.image.version_id,
            decision.image.seed,
            "" if decision.image.score is None else decision.image.score,
            decision.threshold,
            decision.reason,
        ]
        for decision in decisions
        if not decision.kept
    )
    return _csv([*header, "score", "threshold", "reason"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue().encode()
