"""A plan of ratings predicts what an export with a promise will come to."""

import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from curate.rating.budget import _chances_of_good, _played, _row_of
from curate.rating.config import BudgetOptions
from curate.rating.foresee import TaskTime
from curate.scoring.promise import Promise
from curate.workspace import Workspace
from tests.curate.conftest import Story

PROMISE = Promise(0.95, 0.95)
TIME = TaskTime(18.0, 0)


def _chance() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("num", "kept"), [(58, None), (59, 1000)])
def test_with_every_image_good_59_ratings_are_just_enough(num: int, kept: int | None) -> None:
    """0.95^59 = 0.0485 and 0.95^58 = 0.0510: the binomial by hand."""
    scores = np.linspace(1, 0, 1000)
    assert _played(scores, np.ones(1000, bool), num, PROMISE, _chance()) == kept


def test_with_every_image_bad_nothing_leaves() -> None:
    scores = np.linspace(1, 0, 1000)
    assert _played(scores, np.zeros(1000, bool), 300, PROMISE, _chance()) is None


def test_a_curve_through_the_pilot_finds_the_planted_one() -> None:
    chance = _chance()
    scores = chance.random(4000)
    truth = scores**2 / (scores**2 + (1 - scores) ** 2)  # the logistic curve of slope 2
    pilot: Any = np.stack([scores, chance.random(4000) < truth], axis=1)
    at: Any = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    expected = at**2 / (at**2 + (1 - at) ** 2)
    assert _chances_of_good(pilot, at) == pytest.approx(expected, abs=0.04)


def test_the_predicted_chance_is_how_often_draws_are_certified() -> None:
    """Predicted from eight pilots, and counted in 400 draws from the planted truth itself."""
    chance, promise = _chance(), Promise(0.8, 0.9)
    scores = np.sort(chance.random(400))[::-1]
    truth = scores**1.5 / (scores**1.5 + 0.6 * (1 - scores) ** 1.5)
    found = [_played(scores, chance.random(400) < truth, 60, promise, chance) for _ in range(400)]
    happened = sum(one is not None for one in found) / 400
    predicted = []
    for seed in range(8):
        rated = chance.choice(400, size=100, replace=False)
        pilot: Any = np.stack([scores[rated], chance.random(100) < truth[rated]], axis=1)
        options = BudgetOptions(target_precision=0.8, confidence=0.9, seed=seed)
        predicted.append(_row_of(pilot, scores, 60, promise, options, TIME).chance)
    assert 0.2 < happened < 0.95  # else anything would agree
    assert np.mean(predicted) == pytest.approx(happened, abs=0.12)


def test_more_ratings_never_promise_less_and_cost_their_time() -> None:
    chance = _chance()
    scores = np.sort(chance.random(600))[::-1]
    pilot: Any = np.stack([scores[::6], chance.random(100) < scores[::6]], axis=1)
    options = BudgetOptions(overlap=3)
    rows = [_row_of(pilot, scores, n, Promise(0.8, 0.9), options, TIME) for n in (30, 300)]
    assert rows[0].chance <= rows[1].chance
    assert rows[1].num_ratings == 900 and rows[1].time == "about 4.5 h in all (18 s each, assumed)"


def test_without_enough_rated_images_it_says_how_to_get_some(story: Story) -> None:
    ws: Workspace = story.ws
    result = CliRunner().invoke(cli.app, ["rate", "plan", "-w", str(ws.folder)])
    assert result.exit_code == 1
    assert "a plan needs 20" in result.output and "--purpose calibration" in result.output


def test_the_command_counts_pilot_and_unrated_images(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.rating.budget.FEWEST_PILOT", 3)
    where = ["--images", "4", "--images", "5000", "-w", str(story.ws.folder), "--json"]
    result = CliRunner().invoke(cli.app, ["rate", "plan", *where])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["simulated"] is True and found["num_needed"] == 59
    assert [row["num_images"] for row in found["rows"]] == [4]
    assert found["rows"][0]["num_ratings"] == 8 and found["rows"][0]["chance"] == 0.0
    assert any("5000 images are more than are unrated" in note for note in found["notes"])
