"""The benchmarks of edits and of registration: what counts as reached, and what must fail."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import edit_bars, registration
from curate.evaluation.edits import COPY, OURS
from curate.journeys.phantoms import patients


def row(**values: float) -> dict[str, Any]:
    """A row of the table of edits as JSON: all bars reached but for the values given."""
    usual = {"auc": 0.99, "hit": 0.9, "kept": 0.99, "identity": 1.0, "error": 0.02}
    figures = {**usual, "truth_error": 0.5, "hallucination": 0.0, **values}
    return {name: {"value": v, "low": v, "high": v, "num": 50} for name, v in figures.items()}


def test_bars_are_held_against_each_kind_of_edit_and_two_real_films() -> None:
    rows = {OURS: row(auc=0.88, error=0.031), COPY: row(auc=0.0, hit=0.0, truth_error=1.0)}
    table = {"edits": {"factual": rows, "true counterfactual": rows}, "error_of_two_films": 0.02}
    lines = edit_bars.told(table)
    assert "factual, edits: auc 0.880 (bar >= 0.9) SHORT" in lines
    assert "true counterfactual, edits: auc 0.880 (bar >= 0.85) met" in lines
    assert "factual, edits: unedited 1.550 (bar <= 1.5) SHORT" in lines  # 0.031 of 0.02
    assert f"factual, {COPY}: must fail, fails" in lines
    passing = {"edits": {"factual": {COPY: row()}}, "error_of_two_films": 0.02}
    assert f"factual, {COPY}: must fail, PASSES" in edit_bars.told(passing)


def test_a_scale_rises_where_most_edits_follow_it() -> None:
    up, down, flat = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]
    found = edit_bars.rises([up, up, down, flat], ["a", "b", "b", "c"])
    assert found.value == pytest.approx((1 + 0 + 0) / 3) and found.num == 3  # over patients
    assert edit_bars.rises([up] * 5, list("abcde")).low == 1


def test_a_grid_is_monotone_only_if_every_step_rises() -> None:
    rising = {f"{t:g} {i:g}": t - i for t in (1.0, 2.0, 3.0) for i in (0.5, 1.0, 1.5)}
    alike = {name: -value for name, value in rising.items()}
    one = {"value": 1.0, "low": 0.9, "high": 1.0, "num": 50}
    grid = {"edits": 9, "shows": rising, "alike": alike, "text_rises": one, "image_rises": one}
    assert sum("monotone: met" in line for line in edit_bars.told_of_guidance(grid)) == 2
    grid["shows"] = {**rising, "3 1.5": 0.0}
    assert sum("monotone: SHORT" in line for line in edit_bars.told_of_guidance(grid)) == 1


def test_pairs_of_a_table_are_registered_beside_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("SimpleITK")
    monkeypatch.setattr(registration, "NUM_STRANGERS", 2)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prior", "new", "patient"])
        for one in patients(2):
            for place in (0, 1):
                levels = np.rint(255 * one.film(one.visits[place], 48)).astype(np.uint8)
                Image.fromarray(levels).save(tmp_path / f"{one.number}-{place}.png")
            writer.writerow([f"{one.number}-0.png", f"{one.number}-1.png", one.number])
    monkeypatch.setattr(registration, "SIDE", 64)
    words = ["registration", "--films", "2", "--pairs", str(tmp_path / "pairs.csv")]
    monkeypatch.setattr("sys.argv", words)
    registration.main()
    out = capsys.readouterr().out
    assert "2 known moves of procedural films: 100.0 % within 1 pixel" in out
    assert "2 pairs of 2 patients" in out and "0 worse than before (bar 0) met" in out
    assert "% of 2 strangers" in out and "2 known moves of real films" in out
