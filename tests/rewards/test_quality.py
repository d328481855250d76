import numpy as np
import pytest

from rewards.quality import (
    auc,
    auc_top_or_bottom,
    calibration_error,
    mean_by_grade,
    spearman,
)

SCORES = np.array([0.1, 0.4, 0.35, 0.8])
GRADES = np.array([0, 0, 2, 2])


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert auc(SCORES, GRADES == 2) == pytest.approx(3 / 4)  # only 0.35 against 0.4 is wrong


def test_the_grades_between_best_and_worst_stay_out() -> None:
    scores = np.append(SCORES, [0.99, 0.98])
    grades = np.append(GRADES, [1, 1])
    assert auc_top_or_bottom(scores, grades, top=2) == pytest.approx(3 / 4)


def test_one_kind_of_rating_has_no_auc_and_no_rank_correlation() -> None:
    assert auc(SCORES, np.ones(4, dtype=bool)) is None
    assert spearman(SCORES, np.ones(4, dtype=np.int64)) is None


def test_rank_correlation_sees_order_only() -> None:
    grades = np.array([0, 1, 2])
    assert spearman(np.array([0.1, 0.11, 0.9]), grades) == pytest.approx(1)
    assert spearman(np.array([0.9, 0.2, 0.1]), grades) == pytest.approx(-1)


def test_mean_scores_stand_beside_their_grades() -> None:
    assert mean_by_grade(SCORES, GRADES) == pytest.approx({0: 0.25, 2: 0.575})


def test_calibration_error_is_the_gap_of_promise_and_outcome() -> None:
    scores = np.array([0.05, 0.05, 0.95, 0.95])
    assert calibration_error(scores, np.array([0, 0, 1, 1]) == 1) == pytest.approx(0.05)
    # by hand: the upper bin promises .95 and keeps .5, half of the ratings: (.05 + .45) / 2
    assert calibration_error(scores, np.array([0, 0, 0, 1]) == 1) == pytest.approx(0.25)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0  # 1.0 is in the last bin
