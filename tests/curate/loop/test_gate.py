import datetime as dt
from uuid import uuid4

import pytest

from curate.loop.gate import GateVerdict, judge_round
from db.queries.ratings import RatingView


def rating(version: str | None, prompt: str, value: int) -> RatingView:
    return RatingView(
        rating_id=uuid4(),
        image_id=uuid4(),
        prompt_id=prompt,
        modality="OCT",
        text="normal",
        label="normal",
        rater="simulated-1",
        expert_level=3,
        simulated=True,
        criterion="quality",
        value=value,
        min_value=1,
        max_value=3,
        polarity="higher",
        purpose="gate",
        campaign_id=uuid4(),
        file_sha256="0" * 64,
        version_id=version,
        origin="synthetic" if version else "real",
        rated_at=dt.datetime.now(dt.UTC),
    )


def judged(start: list[list[int]], new: list[list[int]], **options: float) -> GateVerdict:
    ratings = [
        rating(version, str(prompt), value)
        for version, by_prompt in (("start", start), ("new", new), ("base", start))
        for prompt, values in enumerate(by_prompt)
        for value in values
    ]
    ratings += [rating(None, "real", 3), rating(None, "real", 1)]
    settings = {"tolerance": 0.05, "confidence": 0.8} | options
    return judge_round(
        ratings,
        base_version_id="base",
        start_version_id="start",
        new_version_id="new",
        **settings,
    )


def test_a_clear_rise_is_promoted_and_says_by_how_much() -> None:
    verdict = judged([[1, 3]] * 6, [[3, 3]] * 6)
    assert verdict.promoted
    assert "+50.0 points" in verdict.reasons[0]
    assert verdict.metrics["share_of_top"]["new"]["value"] == 1.0
    assert verdict.metrics["share_of_top"]["real"]["value"] == 0.5


def test_an_unchanged_version_is_rejected() -> None:
    verdict = judged([[1, 3]] * 6, [[1, 3]] * 6)
    assert not verdict.promoted
    assert "the new version was not rated better" in verdict.reasons


def test_a_rise_that_may_be_a_fall_is_rejected() -> None:
    start = [[1, 1], [3, 3], [1, 1], [3, 3], [1, 1]]
    new = [[3, 3], [1, 1], [3, 3], [1, 1], [3, 3]]
    verdict = judged(start, new)
    assert verdict.metrics["difference"]["value"] == pytest.approx(0.2)
    assert not verdict.promoted
    assert any("cannot be excluded" in reason for reason in verdict.reasons)


def test_versions_without_a_common_prompt_are_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="no prompt rated in both"):
        judge_round(
            [rating("start", "a", 3), rating("new", "b", 3)],
            base_version_id="base",
            start_version_id="start",
            new_version_id="new",
            tolerance=0.05,
            confidence=0.8,
        )
