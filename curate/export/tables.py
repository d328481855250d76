"""The tables of a release: MINIM's data.csv, Hugging Face's metadata.csv, and what was left out."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from curate.selection import Decision

IMAGES = "images"  # the folder that metadata.csv describes and lies in


def minim_csv(kept: Mapping[str, Decision]) -> bytes:
    """Return MINIM's table, `path,Text,modality` and more, as `curate import` reads it."""
    rows = (
        [path, decision.image.text, decision.image.modality, decision.image.label or ""]
        for path, decision in kept.items()
    )
    return _csv(["path", "Text", "modality", "label"], rows)


def imagefolder_csv(kept: Mapping[str, Decision], *, simulated_ratings: bool) -> bytes:
    """Return what `datasets.load_dataset("imagefolder", ...)` reads beside the images."""
    header = ["file_name", "text", "modality", "label", "score", "origin", "simulated_ratings"]
    rows = (
        [
            str(PurePosixPath(path).relative_to(IMAGES)),
            decision.image.text,
            decision.image.modality,
            decision.image.label or "",
            decision.image.score,
            "synthetic",
            simulated_ratings,
        ]
        for path, decision in kept.items()
    )
    return _csv(header, rows)


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
