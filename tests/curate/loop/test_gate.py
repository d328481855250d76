import datetime as dt
from dataclasses import replace
from uuid import uuid4

import pytest

from curate.loop.gate import GateVerdict, _by_criterion, judge_round
from db.queries.ratings import RatingView, looks_good


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


def look(version: str, prompt: str, **grades: int) -> list[RatingView]:
    """One rater's look at one image, each criterion with its grade."""
    shared = {"image_id": uuid4(), "campaign_id": uuid4()}
    return [
        replace(rating(version, prompt, value), criterion=name, **shared)  # type: ignore[arg-type]
        for name, value in grades.items()
    ]


def test_an_image_is_good_when_every_answered_criterion_has_its_top_grade() -> None:
    start = [look("start", str(p), real=3, asked=1 + p % 2) for p in range(8)]
    new = [look("new", str(p), real=3, **({"asked": 3} if p % 2 else {})) for p in range(8)]
    base = [look("base", "0", real=1, asked=3)]
    views = [view for own in (*start, *new, *base) for view in own]
    found = dict[str, list[bool]]()
    for view, is_good in looks_good(views):
        found.setdefault(view.version_id or "", []).append(is_good)
    assert found == {"start": [False] * 8, "new": [True] * 8, "base": [False]}
    assert all(good for view, good in looks_good(views, {"asked": 2}) if view.prompt_id == "1")
    verdict = judge_round(
        views,
        base_version_id="base",
        start_version_id="start",
        new_version_id="new",
        tolerance=0.05,
        confidence=0.8,
    )
    assert verdict.metrics["difference"]["value"] == 1.0
    beside = verdict.metrics["by_criterion"]
    assert beside["real"]["start"]["value"] == 1.0
    assert (beside["asked"]["start"]["value"], beside["asked"]["new"]["num"]) == (0.0, 4)
    assert _by_criterion(views, {"new": "new"})["asked"]["new"]["num"] == 4
    assert "asked 0 to 100 %, real 100 to 100 %" in verdict.reasons[1]


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
