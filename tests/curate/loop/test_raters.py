"""When the loop's people are done."""

import pytest

from annotation.base import SKIPPED, Answer
from curate.loop.raters import is_whole
from curate.rating.answers import take_answers
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.people import active_profiles
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Rater
from tests.curate.pictures import add_pictures


@pytest.fixture
def people(workspace: Workspace) -> list[Rater]:
    return [
        queries.campaigns.get_or_add_rater(
            workspace.session,
            name=name,
            expert_level=3,
            simulated=False,
            config={"email": f"{name}@example.org", "active": True},
        )
        for name in ("ann", "ben")
    ]


def asked(ws: Workspace, *, pairs: bool = False) -> Campaign:
    ids = [image.id for image in add_pictures(ws, 4)]
    items = [Item(image_id=image_id) for image_id in ids]
    if pairs:
        items = [Item(image_id=ids[n], other_image_id=ids[n + 1]) for n in (0, 2)]
    plan = CampaignPlan(
        name="asked",
        items=tuple(items),
        raters=tuple(active_profiles(ws, ())),
        overlap=2,
        seed=0,
        backend="label-studio",
    )
    return make_campaign(ws, plan, queries.campaigns.default_rubric(ws.session, 1)[0])


def answer(ws: Workspace, campaign: Campaign, rater: str, value: int | str | None) -> None:
    take_answers(
        ws,
        campaign,
        [
            Answer(
                task_uid=str(view.id),
                rater=rater,
                criterion="quality",
                value=value,
                reasons=() if value else (SKIPPED,),
                source_uid=f"{view.id}",
            )
            for view in queries.campaigns.assignments(ws.session, campaign.id)
            if view.rater == rater
        ],
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_a_campaign_is_whole_when_all_is_answered_or_passed_over(
    workspace: Workspace, people: list[Rater], pairs: bool
) -> None:
    campaign = asked(workspace, pairs=pairs)
    answer(workspace, campaign, "ann", "left" if pairs else 2)
    assert not is_whole(workspace, campaign)
    answer(workspace, campaign, "ben", None)
    assert is_whole(workspace, campaign)


def test_nobody_waits_for_a_rater_who_was_deactivated(
    workspace: Workspace, people: list[Rater]
) -> None:
    campaign = asked(workspace)
    answer(workspace, campaign, "ann", 2)
    ben = people[1]
    ben.config = {**ben.config, "active": False}
    workspace.session.add(ben)
    assert is_whole(workspace, campaign)
