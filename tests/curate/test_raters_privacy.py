"""Nothing that leaves a workspace tells a rater's e-mail address."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from curate.agreement.worth import ratings_worth
from curate.commands.rate_agreement import worth_lines
from curate.progress import Advance
from curate.rating.files import export_ratings
from curate.rating.report import rater_rows
from curate.release.config import FORMATS, ExportConfig
from curate.release.publish import export_release
from curate.report import write_report
from curate.report.config import ReportConfig
from db.models import AuditEvent, Rater

EMAIL = "Jane.Lee@hospital.example"


@contextmanager
def _silent(total: int, what: str) -> Iterator[Advance]:
    yield lambda number: None


@pytest.fixture
def rated_by_a_person(story: Any) -> Any:
    """The story's one rater, with an address."""
    (rater,) = story.ws.session.exec(select(Rater))
    rater.config = {"email": EMAIL, "active": True}
    story.ws.session.add(rater)
    story.ws.session.commit()
    return story


def files_that_tell(folder: Path) -> list[str]:
    """Return the files in which the address, or its first part, stands; Parquet's are opened."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        told = path.read_bytes()
        if path.suffix == ".parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            told += str(parquet.read_table(path).to_pydict()).encode()
        if any(name in told.lower() for name in (b"jane.lee", b"hospital.example")):
            found.append(path.name)
    return found


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_no_export_report_or_table_tells_a_raters_address(
    rated_by_a_person: Any, tmp_path: Path
) -> None:
    ws, out = rated_by_a_person.ws, tmp_path / "out"
    export_release(ws, out / "release", ExportConfig(threshold=0.35, formats=FORMATS), _silent)
    assert export_ratings(ws, out / "table" / "ratings.csv") > 0
    small = ReportConfig(num_pairs=1, num_best=1, num_of_release=2, images_per_version=2)
    write_report(ws, out / "report.html", config=small)
    worth = ratings_worth(ws, None)
    said = [json.dumps([group.to_json() for group in worth]), *worth_lines(worth)]
    said += [json.dumps(row.to_json()) for row in rater_rows(ws, None)]
    said += [json.dumps(event.details) for event in ws.session.exec(select(AuditEvent))]
    (out / "said.txt").write_text("\n".join(said))
    assert files_that_tell(out) == []
    (out / "planted.txt").write_text(EMAIL)
    assert files_that_tell(out) == ["planted.txt"]  # it is found where it stands
