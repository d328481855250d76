"""Images that were picked become a table, or a study by the code of `curate rate push`."""

import csv
import io
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.rating.config import PushOptions, parse_among
from curate.rating.plan import plan_campaign
from curate.site.app import site_app
from curate.site.jobs import Jobs
from curate.site.worker import work
from curate.web.pages import Sessions
from curate.workspace import Workspace
from db import queries
from tests.curate.pictures import add_pictures
from tests.curate.site.test_site import HOST, Browser


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def app(workspace: Workspace, sessions: Sessions) -> Iterator[object]:
    with closing(Jobs(workspace.folder, work)) as jobs:
        yield site_app(workspace, sessions, jobs, hosts=[HOST])


def invite_people(ws: Workspace, count: int) -> None:
    for number in range(count):
        queries.campaigns.get_or_add_rater(
            ws.session,
            name=f"reader-{number}",
            expert_level=3,
            simulated=False,
            config={"email": f"r{number}@example.org", "active": True},
        )
    ws.session.commit()


@pytest.mark.slow
def test_a_study_has_the_picked_images_as_the_command_would_draw_them(
    workspace: Workspace, app: object, sessions: Sessions
) -> None:
    images = add_pictures(workspace, 8)
    invite_people(workspace, 3)
    browser = Browser(app, sessions.invite("lead", may_act=True))
    picked = [str(image.id) for image in images[:4]]
    form = {"csrf": browser.csrf(), "image": picked}
    saved = browser.post("/images/selection", {**form, "act": "csv"})
    assert saved.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(saved.text)))
    assert [row["image_id"] for row in rows] == picked and rows[0]["label"] == "f0"
    table = workspace.folder.parent / "selection.csv"
    table.write_text(saved.text)
    study = {**form, "act": "study", "name": "picked", "overlap": "2"}
    answer = browser.post("/images/selection", study)
    assert answer.status_code == 303
    place = answer.headers["Location"]
    while "hx-trigger" in (page := browser.get(place).text.partition("<main")[2]):
        time.sleep(0.05)
    assert "is planned" in page and "--among selection.csv" in page
    made = queries.campaigns.find_campaign(workspace.session, "picked")
    assert made is not None and not made.simulated
    views = queries.campaigns.assignments(workspace.session, made.id)
    asked = [view for view in views if view.purpose == "train"]
    assert {str(view.image_id) for view in asked} == set(picked) and len(asked) == 8
    again = browser.post("/images/selection", study)
    while "hx-trigger" in (page := browser.get(again.headers["Location"]).text.partition("<m")[2]):
        time.sleep(0.05)
    assert "already" in page
    assert parse_among(str(table)) == frozenset(image.id for image in images[:4])
    # the command, asked for the rest, draws from the rest
    rest = frozenset(image.id for image in images[4:])
    options = PushOptions(name="rest", origin="both", overlap=2, among=rest)
    views = queries.campaigns.assignments(workspace.session, plan_campaign(workspace, options).id)
    assert {view.image_id for view in views if view.purpose == "train"} == rest


def test_what_is_not_picked_or_not_named_is_refused(
    workspace: Workspace, app: object, sessions: Sessions, tmp_path: Path
) -> None:
    [image] = add_pictures(workspace, 1)
    looker = Browser(app, sessions.invite("guest", may_act=False))
    good = {"csrf": looker.csrf(), "act": "csv", "image": str(image.id)}
    assert looker.post("/images/selection", good).status_code == 200
    study = {**good, "act": "study", "name": "x"}
    assert looker.post("/images/selection", study).status_code == 403
    lead = Browser(app, sessions.invite("lead", may_act=True))
    study["csrf"] = lead.csrf()
    for changed in ({"name": " "}, {"overlap": "0"}, {"image": "x"}, {"image": "0" * 32}):
        assert lead.post("/images/selection", study | changed).status_code == 400, changed
    for text in ("", "image\nx\n", "image_id\nx\n", "image_id\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(CurateError, match="--among"):
            parse_among(str(tmp_path / "t.csv"))
