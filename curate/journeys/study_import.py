"""`curate journeys import`: dated studies to images, what they are of, and pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.importing.config import ImportConfig
from curate.importing.real_images import import_rows
from curate.importing.rows import ImageRows
from curate.importing.table import Remark
from curate.journeys.config import JourneyImport
from curate.journeys.layouts import read_films
from curate.journeys.pairing import (
    Funnel,
    Step,
    chosen_films,
    pairs_of,
    remark,
    split_of_patient,
)
from curate.workspace import Workspace
from db import queries

MOST_LINES = 50  # refused rows that are printed; `--json` has them all


@dataclass(frozen=True)
class StudiesImported:
    """What an import of journeys found and did."""

    steps: list[Step]
    refused: list[Remark]
    num_images: int  # new in the workspace
    num_journeys: int  # new in the workspace
    by_split: dict[str, int]  # all pairs of the table
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "funnel": [vars(step) for step in self.steps],
            "refused": [str(one) for one in self.refused],
            "images": self.num_images,
            "journeys": self.num_journeys,
            "by_split": self.by_split,
            "stopped": self.stopped,
        }

    def lines(self) -> list[str]:
        """Return refused rows as FILE:LINE: reason, the funnel, and the numbers last."""
        shown = [f"refused: {one}" for one in self.refused[:MOST_LINES]]
        more = len(self.refused) - MOST_LINES
        width = max(len(step.name) for step in self.steps)
        funnel = [
            f"{step.name.ljust(width)}  {step.left:>8}"
            + (f"  (lost {step.lost}, first {step.first})" if step.lost else "")
            for step in self.steps
        ]
        splits = ", ".join(f"{count} {name}" for name, count in sorted(self.by_split.items()))
        end = (
            f"Nothing imported: {len(self.refused)} rows are refused and --strict is given."
            if self.stopped
            else f"{self.num_images} new images, {self.num_journeys} new pairs ({splits or 'none'})"
        )
        rest = [f"... and {more} more (--json lists all)"] if more > 0 else []
        return [*shown, *rest, *funnel, end]


def import_studies(ws: Workspace, table: Path, config: JourneyImport) -> StudiesImported:
    """Import the images of a table's studies with what they are of, and pair them."""
    read = read_films(table, config, ws.folder)
    funnel = Funnel()
    funnel.steps.append(Step("rows", read.num_rows, 0, None))
    funnel.note("can be read", len(read.films), read.refused)
    films = chosen_films(read.films, config, funnel)
    numbered = {line: film for line, film in enumerate(films, 2)}  # a folder has no lines
    rows = [
        film.image_row(line, split_of_patient(film, config), config.layout)
        for line, film in numbered.items()
    ]
    took = ImportConfig(folder=config.folder, unlabelled=True, window=config.window)
    pixels: dict[int, str] = {}
    num_images = 0
    dry = pairs_of(films, config, Funnel()) if config.strict and funnel.refused else None
    if dry is None:
        imported = import_rows(ws, table, ImageRows(rows=rows, refused=[], notes=[]), took)
        pixels, num_images = dict(imported.pixels), imported.imported
        lost = [remark(numbered[one.line], one.text) for one in imported.refused]
        films = [film for line, film in numbered.items() if line in pixels]
        funnel.note("with pixels that can be read", len(films), lost)
    pairs = pairs_of(films, config, funnel)
    counts = {name: sum(p.split == name for p in pairs) for name in ("train", "val", "test")}
    if dry is not None:
        return StudiesImported(funnel.steps, funnel.refused, 0, 0, counts, stopped=True)
    known = queries.images.real_images_with_pixels(ws.session, list(pixels.values()))
    ids = {
        film.place: known[pixels[line]][0].id for line, film in numbered.items() if line in pixels
    }
    queries.journeys.add_studies(ws.session, [film.study_row(ids[film.place]) for film in films])
    num_journeys = queries.journeys.add_journeys(
        ws.session,
        [
            {
                "prior_image_id": ids[pair.prior.place],
                "new_image_id": ids[pair.new.place],
                "patient": pair.new.patient,
                "days": pair.days,
                "split": pair.split,
            }
            for pair in pairs
        ],
    )
    about = {**queries.audit.file_named(table), "layout": config.layout}
    queries.audit.record_result(ws.session, "journeys import", about, {"journeys": len(pairs)})
    return StudiesImported(
        funnel.steps, funnel.refused, num_images, num_journeys, counts, stopped=False
    )
