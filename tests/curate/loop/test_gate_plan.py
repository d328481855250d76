"""How many raters and images a gate needs: held against planted rounds, and by hand."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from benchmarks.rl.gate import Planted, promoted
from curate.loop.config import LoopConfig
from curate.loop.gate_plan import FEWEST_IMAGES, _fewest_prompts, _scatter_of
from curate.loop.power import RATER_VARIANCE, Scatter, power
from db import queries
from tests.curate.conftest import Story


def test_the_fewest_prompts_find_the_rise_and_one_less_does_not() -> None:
    config = replace(LoopConfig(), raters="label-studio", overlap=2)
    found = _fewest_prompts(config, 0.05, 0.8, Scatter())
    assert found is not None
    assert power(config, found, 0.05) >= 0.8 > power(config, found - 1, 0.05)
    assert _fewest_prompts(config, 0.001, 0.8, Scatter()) is None
    more = _fewest_prompts(replace(config, overlap=4), 0.05, 0.8, Scatter())
    assert more is not None and more < found


def test_a_planned_gate_finds_planted_rises_as_often_as_was_asked_for() -> None:
    """600 planted rounds of simulated raters; three standard errors are 5 points."""
    config = replace(LoopConfig(), overlap=2)
    found = _fewest_prompts(config, 0.05, 0.8, Scatter())
    assert found is not None
    draws = np.random.default_rng(0)
    passed = promoted(Planted(), 0.05, config, num_prompts=found, rounds=600, draws=draws)
    assert np.mean(passed) == pytest.approx(0.8, abs=0.06)


def test_the_scatter_of_raters_is_measured_where_enough_images_were_rated_twice(
    story: Story,
) -> None:
    [view, *_] = queries.ratings.current_ratings(story.ws.session)
    assert _scatter_of([view]) == Scatter()
    chance = np.random.default_rng(0)

    def rated(num: int) -> list[Any]:
        """Of each image two looks, good with a chance of its own that is 0.2 or 0.8."""
        images = [replace(view, image_id=UUID(int=n), rater="ann") for n in range(num)]
        both = [one for image in images for one in (image, replace(image, rater="ben"))]
        goods = [0.2 + 0.6 * (one.image_id.int % 2) for one in both]
        return [
            replace(one, value=3 if chance.random() < good else 1, purpose="train")
            for one, good in zip(both, goods, strict=True)
        ]

    assert _scatter_of(rated(FEWEST_IMAGES - 1)).rater == RATER_VARIANCE
    measured = _scatter_of(rated(4000))
    assert measured.num_images == 4000
    assert measured.rater == pytest.approx(2 * 0.2 * 0.8, abs=0.02)  # a coin's variance, twice


def test_the_command_says_prompts_images_and_hours(story: Story) -> None:
    where = ["--rise", "0.05", "-w", str(story.ws.folder)]
    shown = CliRunner().invoke(cli.app, ["rate", "plan", *where])
    assert shown.exit_code == 0, shown.output
    assert "rises by 5 points with a chance of 80%" in shown.output
    assert "how raters scatter is assumed" in shown.output
    found = json.loads(CliRunner().invoke(cli.app, ["rate", "plan", *where, "--json"]).stdout)
    assert [row["num_raters"] for row in found["rows"]] == [1, 2, 3, 4]
    for row in found["rows"]:
        assert row["num_images"] == 3 * 8 * row["num_prompts"]
        assert row["num_ratings"] == row["num_images"] * row["num_raters"]
        assert row["chance"] >= 0.8 and row["chance_of_none"] < 0.05
