import pytest

from curate.training.kept_table import kept_table, table_lines
from generators.training.history import Validation


def test_the_table_says_what_was_learned_kept_and_lost() -> None:
    fundus, cxr, oct_ = [1.0, 1.2, 0.8] * 2, [1.0, 1.1] * 3, [0.5] * 100
    before = Validation(0, {"Fundus": fundus, "CXR": cxr, "OCT": oct_})
    after = Validation(
        9, {"Fundus": [1.0, 1.21, 0.8] * 2, "CXR": [2.0, 2.2] * 3, "OCT": [0.3, 0.4] * 50}
    )
    rows = kept_table(before, after, new={"OCT"})
    assert [(row.group, row.verdict) for row in rows] == [
        ("OCT", "learned"),
        ("CXR", "lost"),
        ("Fundus", "kept"),
    ]
    oct_row = rows[0]
    assert (oct_row.before, oct_row.after) == pytest.approx((0.5, 0.35))
    assert oct_row.change == pytest.approx(-0.3)
    half = 1.96 * 0.1 / 100**0.5  # changes of -0.4 and -0.2: a deviation of 0.1
    assert [oct_row.low, oct_row.high] == pytest.approx([-0.3 - half, -0.3 + half], abs=0.004)
    assert table_lines([row.to_json() for row in rows])[1].split()[:3] == ["OCT", "learned", "100"]


def test_a_few_images_are_no_verdict() -> None:
    before, after = Validation(0, {"OCT": [1.0] * 5}), Validation(9, {"OCT": [0.5] * 5})
    [row] = kept_table(before, after, new=())
    assert row.verdict == "unsure"
    assert table_lines([row.to_json()])[1].endswith("-50.0% (too few images)")


def test_an_interval_on_both_sides_is_no_verdict() -> None:
    before, after = Validation(0, {"OCT": [1.0] * 6}), Validation(9, {"OCT": [0.5, 1.6] * 3})
    assert kept_table(before, after, new=())[0].verdict == "unsure"
    assert kept_table(before, after, new=("CXR",))[0].verdict == "unsure"
