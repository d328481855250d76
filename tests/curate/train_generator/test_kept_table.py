import pytest

from curate.train_generator.kept_table import kept_table, table_lines
from generators.training.checkpoint import Validation


def test_the_table_says_what_was_learned_kept_and_lost() -> None:
    before = Validation(0, {"Fundus": [1.0, 1.2, 0.8], "CXR": [1.0, 1.1], "OCT": [0.5, 0.5]})
    after = Validation(9, {"Fundus": [1.0, 1.21, 0.8], "CXR": [2.0, 2.2], "OCT": [0.3, 0.4]})
    rows = kept_table(before, after, new={"OCT"})
    assert [(row.group, row.verdict) for row in rows] == [
        ("OCT", "learned"),
        ("CXR", "lost"),
        ("Fundus", "kept"),
    ]
    oct_row = rows[0]
    assert (oct_row.before, oct_row.after) == (0.5, 0.35)
    assert oct_row.change == pytest.approx(-0.3)
    assert [oct_row.low, oct_row.high] == pytest.approx([-0.4, -0.2])
    assert table_lines([row.to_json() for row in rows])[1].split()[:3] == ["OCT", "learned", "2"]


def test_an_interval_on_both_sides_is_no_verdict() -> None:
    before, after = Validation(0, {"OCT": [1.0, 1.0]}), Validation(9, {"OCT": [0.5, 1.6]})
    assert kept_table(before, after, new=())[0].verdict == "unsure"
    assert kept_table(before, after, new=("CXR",))[0].verdict == "unsure"
