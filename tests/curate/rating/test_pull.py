"""Pulling people's answers into rows: killed at any moment, repeated, from odd answers."""

from collections.abc import Iterator

import pytest
from sqlmodel import select

from annotation.label_studio.access import Access
from annotation.label_studio.backend import LabelStudioBackend
from curate.rating.answers import Taken
from curate.rating.campaigns import CampaignPlan, Item, make_campaign
from curate.rating.people import active_profiles
from curate.rating.pull import pull_campaign
from curate.rating.send import push_campaign
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, Rating
from tests.annotation.label_studio.fake import FakeLabelStudio
from tests.curate.pictures import add_pictures

Row = tuple[str, int, int | None, int]


@pytest.fixture
def server() -> FakeLabelStudio:
    return FakeLabelStudio()


@pytest.fixture
def backend(server: FakeLabelStudio) -> LabelStudioBackend:
    return LabelStudioBackend(Access(url="http://labels", token="t"), transport=server.transport())


@pytest.fixture
def campaign(
    workspace: Workspace, server: FakeLabelStudio, backend: LabelStudioBackend
) -> Campaign:
    """Ann and ben, six images each, pushed."""
    for number, name in enumerate(("ann", "ben"), 2):
        server.users[number] = f"{name}@example.org"
        queries.campaigns.get_or_add_rater(
            workspace.session,
            name=name,
            expert_level=3,
            simulated=False,
            config={"email": f"{name}@example.org", "active": True},
        )
    plan = CampaignPlan(
        name="first",
        items=tuple(Item(image_id=image.id) for image in add_pictures(workspace, 6)),
        raters=tuple(active_profiles(workspace, ())),
        overlap=2,
        seed=0,
        backend="label-studio",
    )
    made = make_campaign(workspace, plan, queries.campaigns.default_rubric(workspace.session, 1)[0])
    views = queries.campaigns.assignments(workspace.session, made.id)
    addresses = {(view.id, "left"): f"/{view.id}.png" for view in views}
    assert push_campaign(workspace, made, backend, addresses) == 12
    server.tick()
    return made


def uids(ws: Workspace, campaign: Campaign, rater: str) -> list[str]:
    views = queries.campaigns.assignments(ws.session, campaign.id)
    mine = sorted((v for v in views if v.rater == rater), key=lambda view: view.position)
    return [str(view.id) for view in mine]


def rows(ws: Workspace, campaign: Campaign) -> list[Row]:
    views = {view.id: view for view in queries.campaigns.assignments(ws.session, campaign.id)}
    return sorted(
        (
            (views[row.assignment_id].rater, views[row.assignment_id].position)
            + (row.value, row.revision)
            for row in ws.session.exec(select(Rating))
        ),
        key=str,
    )


def rate(server: FakeLabelStudio, ws: Workspace, campaign: Campaign) -> None:
    """Ann answers all but one, ben two; ann takes one back, ben edits one."""
    for number, uid in enumerate(uids(ws, campaign, "ann")[:5]):
        server.annotate(uid, {"quality": str(1 + number % 3)})
    for uid in uids(ws, campaign, "ben")[:2]:
        server.annotate(uid, {"quality": "2"}, completed_by=3)


def change(server: FakeLabelStudio, ws: Workspace, campaign: Campaign) -> None:
    server.tick()
    server.delete(uids(ws, campaign, "ann")[0])
    edited = uids(ws, campaign, "ben")[0]
    server.edit(edited, server.task_of(edited)["annotations"][0], {"quality": "3"})


WHOLE: list[Row] = sorted(
    [
        *(("ann", place, 1 + place % 3, 1) for place in range(5)),
        ("ann", 0, None, 2),
        ("ben", 0, 2, 1),
        ("ben", 0, 3, 2),
        ("ben", 1, 2, 1),
    ],
    key=str,
)


def test_answers_edits_and_deletions_become_rows_once(
    workspace: Workspace, server: FakeLabelStudio, backend: LabelStudioBackend, campaign: Campaign
) -> None:
    rate(server, workspace, campaign)
    assert pull_campaign(workspace, campaign, backend).taken.new == 7
    change(server, workspace, campaign)
    assert pull_campaign(workspace, campaign, backend).taken.revised == 2
    again = pull_campaign(workspace, campaign, backend, everything=True).taken
    assert again == Taken(unchanged=12)
    assert rows(workspace, campaign) == WHOLE


class Killed(Exception):
    """The process ends here."""


def moments(workspace: Workspace, server: FakeLabelStudio, limit: int) -> Iterator[int]:
    """Let the pull die before its n-th commit or request, for every n; yield n."""
    session, commit = workspace.session, workspace.session.commit
    for fatal in range(limit):
        steps = iter(range(fatal + 1))

        def step(last: int = fatal, steps: Iterator[int] = steps) -> None:
            if next(steps, last) == last:
                raise Killed

        def dying_commit() -> None:
            step()
            commit()

        server.fault = lambda request: step()
        session.commit = dying_commit  # type: ignore[method-assign]
        yield fatal
        session.commit = commit  # type: ignore[method-assign]
        server.fault = lambda request: None


def test_a_pull_killed_at_any_moment_and_repeated_ends_in_the_same_rows(
    workspace: Workspace, server: FakeLabelStudio, backend: LabelStudioBackend, campaign: Campaign
) -> None:
    num_killed = 0
    for work in (rate, change):
        work(server, workspace, campaign)
        for _ in moments(workspace, server, 12):
            try:
                pull_campaign(workspace, campaign, backend)
            except Killed:
                workspace.session.rollback()
                num_killed += 1
        pull_campaign(workspace, campaign, backend)
    assert num_killed >= 12  # six requests and two commits a pull
    assert rows(workspace, campaign) == WHOLE


def test_a_server_made_anew_withdraws_nothing(
    workspace: Workspace, server: FakeLabelStudio, backend: LabelStudioBackend, campaign: Campaign
) -> None:
    rate(server, workspace, campaign)
    pull_campaign(workspace, campaign, backend)
    before = rows(workspace, campaign)
    server.tick()
    server.tasks.clear()  # its disk is gone
    views = queries.campaigns.assignments(workspace.session, campaign.id)
    addresses = {(view.id, "left"): f"/{view.id}.png" for view in views}
    assert push_campaign(workspace, campaign, backend, addresses) == 12
    server.tick()
    pull_campaign(workspace, campaign, backend, everything=True)
    assert rows(workspace, campaign) == before
    server.annotate(uids(workspace, campaign, "ann")[0], {"quality": "3"})
    assert pull_campaign(workspace, campaign, backend).taken.revised == 1


def test_what_cannot_be_taken_is_kept_with_its_reason_and_the_rest_counts(
    workspace: Workspace, server: FakeLabelStudio, backend: LabelStudioBackend, campaign: Campaign
) -> None:
    one, two, three, four = uids(workspace, campaign, "ann")[:4]
    server.annotate(one, {"quality": "9"})
    server.annotate(two, {"beauty": "3"})
    server.annotate(three, {"quality": "3"}, completed_by=3)
    server.annotate(four, {"quality": "3"})
    for num_new in (4, 0):
        taken = pull_campaign(workspace, campaign, backend, everything=True).taken
        assert (taken.new, taken.quarantined) == ((1, 3) if num_new else (0, 0))
    kept = queries.ratings.quarantined(workspace.session, campaign.id)
    assert sorted(answer.reason for answer in kept) == [
        "made by user 3, but the task is ann's (user 2)",
        "no question 'verdict-beauty'; known: verdict-quality",
        "value 9; needed: 1 to 3",
    ]
