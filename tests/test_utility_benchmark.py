"""The declared utility benchmark: what of it can be checked without a quickstart's workspace."""

import csv
from pathlib import Path

import pytest

from benchmarks.utility import holm, read_rows, write_sides
from curate.evaluation.intervals import Estimate
from recipes.set_aside import is_set_aside


def test_holm_multiplies_the_smallest_first_and_never_falls() -> None:
    """By hand: z of 1.96 and 3 are p 0.0500 and 0.0027; times 1 and 2."""
    assert holm([Estimate(1.96, 0, 3.92, 9), Estimate(3, 1.04, 4.96, 9)]) == pytest.approx(
        [0.0500, 0.0054], abs=1e-4
    )
    assert holm([Estimate(2, 0.04, 3.96, 9)] * 2) == pytest.approx([0.091, 0.091], abs=1e-3)


def test_no_patient_is_on_both_sides(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with (data / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "patient", "split"])
        for number in range(400):
            (data / f"{number}.png").write_bytes(b"")
            split = "val" if number % 8 == 0 else "train"
            table.writerow([f"{number}.png", f"patient {number}", split])
    train, test = write_sides(data, tmp_path / "out")
    sides = [{row["patient"] for row in read_rows(path)} for path in (train, test)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 400
    assert all(f"patient {number}" in sides[1] for number in range(0, 400, 8))
    assert not any(is_set_aside(patient) for patient in sides[0])
    assert (tmp_path / "out" / "7.png").is_file()
