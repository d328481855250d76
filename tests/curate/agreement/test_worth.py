"""From rows to figures: a simulated campaign, a spoiled control, a question of origin, a pair."""

import json
from typing import Any

import pytest

from annotation.agreement.rasch import RaschFit
from curate.agreement.figures import KAPPA
from curate.agreement.worth import ratings_worth
from curate.commands.rate_agreement import worth_lines
from curate.errors import CurateError
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.workspace import Workspace
from db.models import Assignment, Campaign, Comparison, Criterion, Image, Rater, Rating, Rubric
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures


def nothing(_: int) -> None:
    """Show no progress."""


@pytest.fixture
def rated(workspace: Workspace) -> Workspace:
    campaign = create_campaign(
        workspace,
        name="first",
        images=add_pictures(workspace, 60),
        raters=simulated_raters(3),
        overlap=3,
        repeat_fraction=0.2,
    )
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=nothing)
    return workspace


def people(ws: Workspace) -> None:
    """Two people: a scale, a question of origin, and a spoiled control; ann edits one verdict."""
    rubric = Rubric(name="people", version=1)
    ws.session.add(rubric)
    ws.session.flush()
    quality = Criterion(rubric_id=rubric.id, name="realism", question="?", min_value=1, max_value=5)
    origin = Criterion(
        rubric_id=rubric.id, name="origin", kind="origin", question="?", min_value=1, max_value=3
    )
    campaign = Campaign(
        name="people",
        rubric_id=rubric.id,
        seed=0,
        overlap=2,
        simulated=False,
        backend="label-studio",
    )
    raters = [Rater(name="ann"), Rater(name="ben")]
    ws.session.add_all([quality, origin, campaign, *raters])
    ws.session.flush()
    images = add_pictures(ws, 12, first_seed=500)
    for rater in raters:
        for place, image in enumerate(images):
            spoiled = "blurred" if place == 11 else None
            shown = Assignment(
                campaign_id=campaign.id,
                rater_id=rater.id,
                image_id=image.id,
                position=place,
                purpose="control" if spoiled else "train",
                spoiled=spoiled,
            )
            ws.session.add(shown)
            ws.session.flush()
            verdict(ws, shown, quality, 1 if spoiled else 1 + place % 5)
            verdict(ws, shown, origin, 1 + place % 3)
            if place == 0 and rater.name == "ann":
                verdict(ws, shown, quality, 5, revision=2)
    ws.session.commit()


def verdict(
    ws: Workspace, shown: Assignment, criterion: Criterion, value: int | None, revision: int = 1
) -> None:
    ws.session.add(
        Rating(
            assignment_id=shown.id,
            criterion_id=criterion.id,
            scale_min=criterion.min_value,
            scale_max=criterion.max_value,
            value=value,
            revision=revision,
            lead_time_s=4.0,
        )
    )


def test_a_simulated_campaign_is_measured_and_marked(rated: Workspace) -> None:
    [worth] = ratings_worth(rated)
    assert worth.simulated and worth.turing_accuracy is None
    [quality] = worth.criteria
    assert (quality.num_images, quality.num_shared, quality.num_raters) == (60, 60, 3)
    severity = quality.severity
    assert isinstance(severity, RaschFit)
    strict = {rater.rater: rater.severity for rater in severity.raters}
    # as annotation.config plants them: 0, 0.3 and -0.3 grades
    assert strict["simulated-3"] < strict["simulated-1"] < strict["simulated-2"]
    lines = "\n".join(worth_lines([worth]))
    assert "by 3 simulated raters on 60 images" in lines and "nan" not in lines


def test_people_and_simulated_raters_are_never_mixed(rated: Workspace) -> None:
    people(rated)
    first, second = ratings_worth(rated)
    assert (first.simulated, second.simulated) == (False, True)
    assert [rater.rater for rater in first.raters] == ["ann", "ben"]


def test_an_edit_counts_and_a_spoiled_control_only_as_a_control(workspace: Workspace) -> None:
    people(workspace)
    [worth] = ratings_worth(workspace, "people")
    [realism] = worth.criteria
    assert (realism.criterion, realism.num_images) == ("realism", 11)  # the twelfth is spoiled
    [pair] = realism.between
    assert pair.exact == pytest.approx(10 / 11)  # but for the one that ann edited
    for rater in worth.raters:
        assert rater.controls is not None and (rater.controls.value, rater.controls.num) == (1, 1)
        assert rater.turing is not None and rater.turing.num_looks == 11
        assert rater.pace is not None and (rater.pace.num, rater.pace.median_s) == (12, 4.0)
    assert worth.turing_accuracy is not None


def test_pairs_are_compared_by_what_was_preferred_whatever_its_side(workspace: Workspace) -> None:
    images = add_pictures(workspace, 12)
    people_said(workspace, images)
    [worth] = ratings_worth(workspace)
    [pairs] = worth.criteria
    kappa = pairs.figure(KAPPA).estimate
    assert pairs.is_pairwise and kappa is not None and kappa.value == 1
    assert "6 pairs" in "\n".join(worth_lines([worth]))


def people_said(ws: Workspace, images: list[Image]) -> None:
    """Ben sees each pair with its sides changed, and prefers the same images as ann."""
    rubric = Rubric(name="pairs", version=1)
    ws.session.add(rubric)
    ws.session.flush()
    better = Criterion(rubric_id=rubric.id, name="better", question="?", min_value=1, max_value=3)
    campaign = Campaign(
        name="pairs",
        kind="comparison",
        rubric_id=rubric.id,
        seed=0,
        overlap=2,
        simulated=False,
        backend="label-studio",
    )
    ws.session.add_all([better, campaign])
    sides = ["left", "right", "tie", "left", "right", "left"]
    turned = {"left": "right", "right": "left", "tie": "tie"}
    for name in ("ann", "ben"):
        rater = Rater(name=name)
        ws.session.add(rater)
        ws.session.flush()
        for place, side in enumerate(sides):
            pair = images[2 * place], images[2 * place + 1]
            one, other = pair if name == "ann" else pair[::-1]
            shown = Assignment(
                campaign_id=campaign.id,
                rater_id=rater.id,
                image_id=one.id,
                other_image_id=other.id,
                position=place,
            )
            ws.session.add(shown)
            ws.session.flush()
            ws.session.add(
                Comparison(
                    assignment_id=shown.id,
                    criterion_id=better.id,
                    preferred=side if name == "ann" else turned[side],
                )
            )
    ws.session.commit()


def test_a_withdrawn_verdict_counts_no_more(workspace: Workspace) -> None:
    people(workspace)
    from sqlmodel import select

    shown = workspace.session.exec(select(Assignment).where(Assignment.position == 3)).first()
    quality = workspace.session.exec(select(Criterion).where(Criterion.name == "realism")).one()
    assert shown is not None
    verdict(workspace, shown, quality, None, revision=2)
    workspace.session.commit()
    [worth] = ratings_worth(workspace)
    assert worth.criteria[0].num_ratings == 2 * 11 - 1


def test_all_of_it_is_json_without_nan(rated: Workspace) -> None:
    people(rated)
    values: Any = [worth.to_json() for worth in ratings_worth(rated)]
    assert "NaN" not in json.dumps(values, allow_nan=False)


def test_nothing_rated_and_an_unknown_campaign_are_said(workspace: Workspace) -> None:
    assert ratings_worth(workspace) == []
    assert worth_lines([]) == ["No ratings yet. Ask for some with `curate rate push`."]
    with pytest.raises(CurateError, match="No campaign 'x'"):
        ratings_worth(workspace, "x")
