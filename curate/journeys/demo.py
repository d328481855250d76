"""`curate journeys demo`: procedural patients as a table of studies, imported like anybody's."""

import csv
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.journeys.config import JourneyDemo, JourneyImport
from curate.journeys.phantoms import patients, truth_of
from curate.journeys.study_import import StudiesImported, import_studies
from curate.samples.pixels import png_bytes
from curate.workspace import Workspace

FOLDER = "journeys-demo"  # in the workspace
TRUTH = "truth.json"  # {path: what is known of the film}
FIRST_DAY = "2020-01-01"


@dataclass(frozen=True)
class DrawnPatients:
    """What was drawn, and what its import found."""

    table: Path
    num_patients: int
    imported: StudiesImported

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "patients": self.num_patients,
            "table": str(self.table),
            "drawn": "procedural, not of real patients",
            **self.imported.to_json(),
        }

    def lines(self) -> list[str]:
        """Return lines for people."""
        return [
            f"{self.num_patients} procedural patients drawn, no real ones: {self.table}",
            *self.imported.lines(),
        ]


def make_demo(ws: Workspace, config: JourneyDemo) -> DrawnPatients:
    """Draw patients into the workspace's folder, and import their studies.

    Beside the films lies their table in the layout `csv`, and what is known of each.
    """
    drawn, folder = patients(config.num_patients, seed=config.seed), ws.folder / FOLDER
    (folder / "films").mkdir(parents=True, exist_ok=True)
    rows, truth, first = [], {}, dt.date.fromisoformat(FIRST_DAY)
    for patient in drawn:
        for place, visit in enumerate(patient.visits):
            path = f"films/p{patient.number:07}-{place}.png"
            (folder / path).write_bytes(png_bytes(patient.levels(visit, config.side)))
            findings, impression = patient.report(visit)
            truth[path] = truth_of(patient, visit)
            rows.append(
                {
                    "path": path,
                    "patient": f"phantom-{patient.number:07}",
                    "date": (first + dt.timedelta(days=visit.day)).isoformat(),
                    "view": "PA",
                    "findings": findings,
                    "impression": impression,
                }
            )
    table = folder / "studies.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / TRUTH).write_text(json.dumps(truth, indent=1, sort_keys=True), encoding="utf-8")
    return DrawnPatients(table, len(drawn), import_studies(ws, table, JourneyImport()))
