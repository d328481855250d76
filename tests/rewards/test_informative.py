import numpy as np
import pytest
import torch

from rewards.informative import UNRATED, Joint, _Criterion, before_any_rating, most_informative
from rewards.similarity import Kernel


def joint(positions: list[float], *, reach: float = 1.0) -> Joint:
    """Images on a line; near ones are alike."""
    place_N = torch.tensor(positions).double()
    likeness_NN = torch.exp(-((place_N[:, None] - place_N).square()) / (2 * reach**2))
    return Joint(torch.zeros(len(positions)).double(), 25 * likeness_NN, UNRATED)


def chosen(known: Joint, count: int, **changes: object) -> list[int]:
    size = len(known.mean_N)
    usual = {
        "answered_N": np.zeros(size, bool),
        "noise_N": np.ones(size),
        "minutes_N": np.ones(size),
    }
    return most_informative([known], count, **{**usual, **changes})  # type: ignore[arg-type]


def test_a_batch_asks_nothing_twice_and_the_crowd_before_the_loner() -> None:
    known = joint([0.0, 0.01, 0.02, 50.0, 50.01, 99.0])
    first, second, third = chosen(known, 3)
    assert (first in (0, 1, 2), second in (3, 4), third) == (True, True, 5)


def test_what_was_answered_since_is_neither_asked_again_nor_its_neighbours() -> None:
    answered = np.array([True, False, False, False])
    assert chosen(joint([0.0, 0.01, 50.0, 50.01]), 2, answered_N=answered)[0] in (2, 3)
    assert 0 not in chosen(joint([0.0, 0.01, 50.0, 50.01]), 4, answered_N=answered)


def test_what_takes_long_or_what_raters_disagree_on_comes_later() -> None:
    known = joint([0.0, 50.0])
    assert chosen(known, 1, minutes_N=np.array([2.0, 1.0])) == [1]
    assert chosen(known, 1, noise_N=np.array([1.0, 3.0])) == [0]


def test_an_image_whose_grade_is_sure_is_not_asked() -> None:
    known = joint([0.0, 50.0])
    sure = Joint(torch.tensor([0.0, 30.0]).double(), known.covariance_NN, known.calibration)
    assert chosen(sure, 1) == [0]


def test_it_chooses_what_lowers_the_variance_of_all_chances_most() -> None:
    """Against conditioning on each candidate by inverting the whole matrix."""
    known = joint([0.0, 0.5, 0.9, 3.0, 3.1, 8.0], reach=0.8)
    totals = []
    criterion = _Criterion(known, np.ones(6))
    error, counts = criterion.error_N, criterion.counts_N
    precision = np.linalg.inv(known.covariance_NN.numpy() + 1e-9 * np.eye(6))
    for place in range(6):
        told = np.zeros((6, 6))
        told[place, place] = 1 / error[place]
        after = np.linalg.inv(precision + told)
        totals.append((counts * (known.covariance_NN.numpy() - after).diagonal()).sum())
    assert criterion.gains() == pytest.approx(totals, rel=1e-5)


def test_without_a_rating_the_likeness_of_images_is_all_there_is() -> None:
    features = torch.tensor([[0.0, 0.0], [0.01, 0.0], [5.0, 5.0]])
    prompts = torch.tensor([[1.0, 1.0]] * 3)
    known = before_any_rating(features, prompts, Kernel(num_modalities=1, reach=1.4, scale=2.0))
    assert known.covariance_NN[0, 1] > known.covariance_NN[0, 2] > 0
    assert known.covariance_NN.diagonal().tolist() == pytest.approx([4.0] * 3)
