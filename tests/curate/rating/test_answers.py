from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from annotation.base import Answer, RaterProfile, Unreadable
from curate.errors import CurateError
from curate.rating.answers import Taken, take_answers
from curate.rating.report import agreement, campaign_rows, rater_rows
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.workspace import Workspace, init_workspace, open_workspace
from db import queries
from db.models import Assignment, Campaign, Image, Rating
from db.queries.campaigns import AssignmentView
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import BrightnessEyes, add_pictures


def nothing(_: int) -> None:
    """Show no progress."""


def campaign_of(
    ws: Workspace, images: list[Image], *, name: str = "first", **plan: object
) -> Campaign:
    raters = simulated_raters(3)
    return create_campaign(ws, name=name, images=images, raters=raters, **plan)  # type: ignore[arg-type]


def assignments(ws: Workspace, campaign: Campaign) -> list[AssignmentView]:
    return queries.campaigns.assignments(ws.session, campaign.id)


def values_of(ws: Workspace, campaign: Campaign) -> dict[tuple[str, int], int]:
    positions = {view.id: view for view in assignments(ws, campaign)}
    latest = queries.ratings.latest_verdicts(ws.session, campaign, list(positions))
    return {
        (positions[key[0]].rater, positions[key[0]].position): rating.value or 0
        for key, rating in latest.items()
        if isinstance(rating, Rating)
    }


def test_every_image_gets_as_many_raters_as_asked_and_raters_equal_piles(
    workspace: Workspace,
) -> None:
    images = add_pictures(workspace, 50)
    views = assignments(workspace, campaign_of(workspace, images, overlap=2))
    assert set(Counter(view.image_id for view in views).values()) == {2}
    assert sorted(Counter(view.rater for view in views).values()) == [33, 33, 34]
    raters_of_image = {(view.image_id, view.rater) for view in views}
    assert len(raters_of_image) == len(views)


def test_each_raters_order_is_its_own_and_drawn_from_the_seed(workspace: Workspace) -> None:
    images = add_pictures(workspace, 30)

    def orders(campaign: Campaign) -> dict[str, list[object]]:
        views = sorted(assignments(workspace, campaign), key=lambda view: view.position)
        return {
            rater: [view.image_id for view in views if view.rater == rater]
            for rater in sorted({view.rater for view in views})
        }

    first = orders(campaign_of(workspace, images, overlap=3, seed=1))
    again = orders(campaign_of(workspace, images, name="again", overlap=3, seed=1))
    other = orders(campaign_of(workspace, images, name="other", overlap=3, seed=2))
    assert first == again
    assert first != other
    for one, two in pairwise(first.values()):
        assert one != two
    assert list(first.values())[0] != [image.id for image in images]


def test_controls_go_to_every_rater_and_repeats_come_after_the_first_look(
    workspace: Workspace,
) -> None:
    images = add_pictures(workspace, 44)
    campaign = campaign_of(
        workspace, images[:40], controls=images[40:], overlap=1, repeat_fraction=0.25
    )
    views = assignments(workspace, campaign)
    controls = Counter(view.image_id for view in views if view.purpose == "control")
    assert controls == {image.id: 3 for image in images[40:]}
    repeats = [view for view in views if view.purpose == "repeat"]
    assert len(repeats) == sum(round(0.25 * (pile + 4)) for pile in (14, 13, 13))
    first = {
        (view.rater, view.image_id): view.position for view in views if view.purpose != "repeat"
    }
    assert all(first[view.rater, view.image_id] < view.position for view in repeats)


def test_how_an_image_was_chosen_is_kept_with_it(workspace: Workspace) -> None:
    images = add_pictures(workspace, 4)
    campaign = campaign_of(
        workspace,
        images,
        purpose="calibration",
        selection_method="random",
        inclusion_probability=0.25,
    )
    row = workspace.session.get(Assignment, assignments(workspace, campaign)[0].id)
    assert row is not None
    assert (row.purpose, row.selection_method) == ("calibration", "random")
    assert row.inclusion_probability == 0.25


def test_the_same_campaign_again_is_the_same_and_another_plan_is_refused(
    workspace: Workspace,
) -> None:
    images = add_pictures(workspace, 6)
    campaign = campaign_of(workspace, images)
    assert campaign_of(workspace, images).id == campaign.id
    assert len(assignments(workspace, campaign)) == 12
    with pytest.raises(CurateError, match="other images, raters or settings"):
        campaign_of(workspace, images[:5])


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"overlap": 4}, "4 raters an image, but the campaign has 3"),
        ({"images": []}, "no image to rate"),
        ({"repeat_fraction": 1.5}, "needed: 0 to 1"),
        ({"raters": [RaterProfile(name="ann"), RaterProfile(name="ann")]}, "same name"),
        (
            {"raters": [RaterProfile(name="ann"), RaterProfile(name="sim", simulated=True)]},
            "mixes people and simulated raters",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    workspace: Workspace, plan: dict[str, object], message: str
) -> None:
    whole = {"name": "x", "images": add_pictures(workspace, 3), "raters": simulated_raters(3)}
    with pytest.raises(CurateError, match=message):
        create_campaign(workspace, **(whole | plan))  # type: ignore[arg-type]
    assert queries.campaigns.campaigns(workspace.session) == []


def test_simulated_raters_answer_everything_once(workspace: Workspace) -> None:
    campaign = campaign_of(workspace, add_pictures(workspace, 20, sides=(16, 24)))
    eyes = BrightnessEyes()
    first = simulate_campaign(workspace, campaign, eyes=eyes, advance=nothing)
    assert first == Taken(new=40)
    assert eyes.num_seen == 20
    again = simulate_campaign(workspace, campaign, eyes=eyes, advance=nothing)
    assert again == Taken()
    assert eyes.num_seen == 20
    views = queries.ratings.current_ratings(workspace.session, campaign_id=campaign.id)
    assert all(view.simulated for view in views)
    bright = [view.value for view in views if view.value]
    assert set(bright) == {1, 2, 3}


def test_a_stopped_simulation_ends_with_the_same_ratings(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.simulated.IMAGES_A_PULL", 8)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    whole = campaign_of(workspace, add_pictures(workspace, 30), repeat_fraction=0.2)
    simulate_campaign(workspace, whole, eyes=BrightnessEyes(), advance=nothing)
    expected = values_of(workspace, whole)

    init_workspace(tmp_path / "other")
    with open_workspace(tmp_path / "other") as other:
        campaign = campaign_of(other, add_pictures(other, 30), repeat_fraction=0.2)
        with pytest.raises(KeyboardInterrupt):
            simulate_campaign(other, campaign, eyes=BrightnessEyes(), advance=stop)
        assert 0 < len(values_of(other, campaign)) < len(expected)
        simulate_campaign(other, campaign, eyes=BrightnessEyes(), advance=nothing)
        assert values_of(other, campaign) == expected


def test_raters_with_other_eyes_are_other_raters(workspace: Workspace) -> None:
    images, others = add_pictures(workspace, 3), BrightnessEyes()
    others.identity = "0123456789abcdef"
    campaign = campaign_of(workspace, images)
    with pytest.raises(CurateError, match="'first' was begun .* are 0f48b472343c; these are 01234"):
        simulate_campaign(workspace, campaign, eyes=others, advance=nothing)
    assert queries.ratings.current_ratings(workspace.session) == []
    raters = simulated_raters(3, others.identity)
    assert raters[0].name == "simulated-01234567-1"
    second = create_campaign(workspace, name="second", images=images, raters=raters)
    assert simulate_campaign(workspace, second, eyes=others, advance=nothing).new == 6
    with pytest.raises(CurateError, match="these are 0f48b472343c"):
        simulate_campaign(workspace, second, eyes=BrightnessEyes(), advance=nothing)


def test_people_are_not_simulated(workspace: Workspace) -> None:
    campaign = create_campaign(
        workspace,
        name="people",
        images=add_pictures(workspace, 2),
        raters=[RaterProfile(name="ann")],
        overlap=1,
        backend="label-studio",
    )
    with pytest.raises(CurateError, match="asks people"):
        simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=nothing)


def people_campaign(ws: Workspace) -> tuple[Campaign, list[Answer]]:
    """One rater's campaign, and an answer of 2 to each of its three tasks."""
    campaign = create_campaign(
        ws,
        name="people",
        images=add_pictures(ws, 3),
        raters=[RaterProfile(name="ann")],
        overlap=1,
        backend="label-studio",
    )
    answers = [
        Answer(
            task_uid=str(view.id),
            rater="ann",
            criterion="quality",
            value=2,
            source_uid=f"ls/{view.position}",
        )
        for view in assignments(ws, campaign)
    ]
    return campaign, answers


def test_an_answer_twice_adds_nothing_and_a_changed_one_is_a_revision(
    workspace: Workspace,
) -> None:
    campaign, answers = people_campaign(workspace)
    assert take_answers(workspace, campaign, answers) == Taken(new=3)
    assert take_answers(workspace, campaign, answers) == Taken(unchanged=3)
    changed = [replace(answers[0], value=3), replace(answers[1], value=None), answers[2]]
    assert take_answers(workspace, campaign, changed) == Taken(revised=2, unchanged=1)
    ratings = queries.ratings.current_ratings(workspace.session)
    assert sorted(view.value for view in ratings) == [2, 3]


def test_one_batch_with_an_answer_and_its_change_keeps_both_in_order(
    workspace: Workspace,
) -> None:
    campaign, answers = people_campaign(workspace)
    both = [answers[0], replace(answers[0], value=1)]
    assert take_answers(workspace, campaign, both) == Taken(new=1, revised=1)
    assert [view.value for view in queries.ratings.current_ratings(workspace.session)] == [1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task_uid": str(uuid4())}, "no such assignment"),
        ({"task_uid": "task 7"}, "no such assignment"),
        ({"rater": "ben"}, "answered by 'ben', assigned to 'ann'"),
        ({"criterion": "beauty"}, "no criterion 'beauty'; known: quality"),
        ({"value": 99}, "value 99; needed: 1 to 3"),
    ],
)
def test_an_answer_that_cannot_be_taken_goes_into_quarantine_once(
    workspace: Workspace, change: dict[str, object], reason: str
) -> None:
    campaign, answers = people_campaign(workspace)
    bad = replace(answers[0], **change)  # type: ignore[arg-type]
    for num_new in (1, 0):
        taken = take_answers(workspace, campaign, [bad, answers[1]])
        assert taken.quarantined == num_new
    rows = queries.ratings.quarantined(workspace.session, campaign.id)
    assert len(rows) == 1
    assert reason in rows[0].reason
    assert len(queries.ratings.current_ratings(workspace.session)) == 1


def test_what_a_backend_could_not_read_is_quarantined_too(workspace: Workspace) -> None:
    campaign, _ = people_campaign(workspace)
    torn = Unreadable(source_uid="ls/9", reason="no result", content={"id": 9})
    assert take_answers(workspace, campaign, [], [torn]) == Taken(quarantined=1)


def test_tables_tell_habits_and_agreement_and_mark_what_is_simulated(
    workspace: Workspace,
) -> None:
    campaign = campaign_of(workspace, add_pictures(workspace, 120), overlap=3, repeat_fraction=0.2)
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=nothing)
    (row,) = campaign_rows(workspace)
    assert row["simulated"] is True
    assert (row["images"], row["raters"]) == (120, 3)
    assert row["assigned"] == row["answered"] == 432
    (found,) = agreement(workspace, "first")
    assert found.simulated
    assert len(found.between) == len(found.within) == 3
    assert found.mean_kappa is not None and 0.4 < found.mean_kappa < 1
    assert all(0.5 < own.exact < 1 for own in found.within)
    fair, strict, mild = rater_rows(workspace)
    assert fair.summary.rater == "simulated-1"
    assert strict.summary.severity is not None and strict.summary.severity > 0.05
    assert mild.summary.severity is not None and mild.summary.severity < -0.05
    assert strict.summary.top_share < mild.summary.top_share


def test_a_campaign_that_is_not_there_is_refused_with_those_that_are(
    workspace: Workspace,
) -> None:
    campaign_of(workspace, add_pictures(workspace, 3))
    with pytest.raises(CurateError, match="Known: first"):
        agreement(workspace, "second")
