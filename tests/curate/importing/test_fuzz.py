"""A slice of `python -m benchmarks.fuzz`, by another seed than its record."""

from pathlib import Path

import pytest

from benchmarks import fuzz
from curate.importing import check
from curate.workspace import Workspace


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_tables_and_images_cost_their_rows_only() -> None:
    result = fuzz.fuzz(tables=60, images=120, seed=7)
    assert result["failures"] == []
    for kind in ("tables", "images"):
        counts = result[kind]
        assert counts["untouched lines"] == counts["untouched lines in with their pixels"] > 20
        assert counts["lines refused"] > 20
    assert result["a planted exception comes out"]


@pytest.mark.filterwarnings("ignore")
def test_the_fuzz_finds_a_row_that_is_lost_and_an_exception(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fuzz.Found()
    fuzz.fuzz_tables(workspace, tmp_path / "good", 0, 0, found)
    table = tmp_path / "good" / "good.csv"
    fuzz.tried(workspace, table, "lost", found, {2: "other pixels"})
    monkeypatch.setattr(check, "pixels_hash", lambda _: 1 / 0)
    fuzz.tried(workspace, table, "raised", found, {})
    assert [failure.split(":")[0] for failure in found.failures] == ["lost", "raised"]
    assert found.outcomes["tracebacks"] == 1
