"""Against the leukaemia trial of Freireich et al. 1963 (Blood 21:699), on which textbooks agree."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli import app
from curate.evaluation.survival import cox, kaplan_meier, log_rank, survival_of

TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23] + [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
CONTROL = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
TIME = np.array(TREATED + CONTROL, float)
EVENT = np.array([1] * 9 + [0] * 12 + [1] * 21)
GROUP = np.array([0] * 21 + [1] * 21)


def write(folder: Path, rows: list[str]) -> Path:
    table = folder / "survival.csv"
    table.write_text("\n".join(["time,event,group", *rows]) + "\n")
    return table


def test_the_curve_is_the_published_one() -> None:
    curve = kaplan_meier(TIME[:21], EVENT[:21])
    assert [step.time for step in curve] == [6, 7, 10, 13, 16, 22, 23]
    published = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert [step.survival.value for step in curve] == pytest.approx(published, abs=5e-4)
    assert curve[0].at_risk == 21 and curve[0].events == 3
    assert all(step.survival.low < step.survival.value < step.survival.high for step in curve)


def test_log_rank_and_cox_with_efrons_ties_are_the_published_ones() -> None:
    statistic, p_value = log_rank(TIME, EVENT, GROUP)
    assert statistic == pytest.approx(16.79, abs=0.005)
    assert p_value == pytest.approx(4.17e-5, rel=0.01)
    log, error = cox(TIME, EVENT, GROUP[:, None].astype(float))
    assert log[0] == pytest.approx(1.5721, abs=5e-5)
    assert error[0] == pytest.approx(0.4124, abs=5e-5)


def test_a_table_is_compared_and_bad_rows_are_named(tmp_path: Path) -> None:
    names = ["6-MP", "placebo"]
    rows = [f"{t:g},{e},{names[g]}" for t, e, g in zip(TIME, EVENT, GROUP, strict=True)]
    table = write(tmp_path, [*rows, "-3,1,placebo", "4,maybe,placebo", "nan,1,placebo"])
    found = survival_of(table)
    ratio = found.hazard_ratios["placebo"]
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((4.817, 2.147, 10.81), rel=1e-3)
    assert [note.split(":")[1] for note in found.refused] == ["44", "45", "46"]
    result = CliRunner().invoke(app, ["evaluate", "--survival", str(table)])
    assert result.exit_code == 0, result.output
    assert "6-MP: 21 people, 9 events, median 23" in result.output
    assert "placebo: 21 people, 21 events, median 8" in result.output
    assert "chi-squared 16.79 on 1" in result.output and "a time of -3" in result.output


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["3,1,a", "4,0,a"], "1 groups; two are needed"),
        (["3,0,a", "4,0,a", "2,1,b"], "no event in group 'a'"),
        ([], "0 groups"),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path: Path, rows: list[str], why: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--survival", str(write(tmp_path, rows))])
    assert result.exit_code == 1 and why in " ".join(result.output.split())
