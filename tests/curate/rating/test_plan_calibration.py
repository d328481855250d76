"""The benchmark of plans counts as one would by hand."""

import numpy as np
import pytest

from benchmarks.plan_calibration import Studied, figures, study


def test_fifths_brier_scores_and_hours_are_those_worked_out_by_hand() -> None:
    studies = [
        *(Studied(0.1, happened, 1.0, 1.0) for happened in (False, False, False, True)),
        *(Studied(0.9, happened, 1.0, 2.0) for happened in (True, True, True, True)),
    ]
    found = figures(studies, np.random.default_rng(0))
    first, last = found["fifths"]
    assert (first["fifth"], first["studies"], first["happened"]) == ("0 to 0.2", 4, 0.25)
    assert (last["fifth"], last["studies"], last["happened"]) == ("0.8 to 1", 4, 1.0)
    # (3 x 0.1^2 + 0.9^2 + 4 x 0.1^2) / 8, and 5/8 x 3/8
    assert found["brier_plan"] == pytest.approx(0.88 / 8)
    assert found["brier_base_rate"] == pytest.approx(0.2344)
    assert found["hours_within_20_percent"] == 0.5 and found["hours_off_median"] == -0.25


def test_a_study_is_its_seed_s_and_its_number_s() -> None:
    assert study((0, 3)) == study((0, 3)) != study((0, 4))
