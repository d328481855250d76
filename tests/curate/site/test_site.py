"""The site as a browser meets it: sign-in, doors that stay shut, pages, walks, pixels."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing

import numpy as np
import pytest
from werkzeug.test import Client, TestResponse

from annotation.base import Answer
from benchmarks.site_fuzz import fuzz
from curate.rating.answers import take_answers
from curate.rating.simulate import simulate_campaign, simulated_raters
from curate.samples.formats import decode
from curate.site.app import site_app
from curate.site.jobs import Jobs
from curate.site.worker import work
from curate.status import read_status
from curate.web.pages import COOKIE, SIGNED_IN_S, Sessions
from curate.workspace import Workspace
from db import queries
from db.models import Image, Release, ReleaseDecision, RewardModel, Score
from tests.curate.campaigns import create_campaign
from tests.curate.conftest import Story
from tests.curate.pictures import BrightnessEyes, add_pictures

HOST = "127.0.0.1:8095"
HERE = f"http://{HOST}"


class Browser:
    """One browser, signed in; a link's path in, an answer out."""

    def __init__(self, app: object, token: str | None = None) -> None:
        self.client = Client(app, use_cookies=True)  # type: ignore[arg-type]
        if token is not None:
            assert self.get(f"/?token={token}").status_code == 303

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=HERE, headers=headers)

    def post(self, path: str, data: Mapping[str, object], origin: str = HERE) -> TestResponse:
        return self.client.post(path, base_url=HERE, data=data, headers={"Origin": origin})

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/").text)
        assert found
        return found[1]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(now=clock)


@pytest.fixture
def pictures(workspace: Workspace) -> list[Image]:
    images = add_pictures(workspace, 12)
    workspace.session.commit()
    return images


@pytest.fixture
def jobs(workspace: Workspace) -> Iterator[Jobs]:
    with closing(Jobs(workspace.folder, work)) as made:
        yield made


@pytest.fixture
def app(workspace: Workspace, sessions: Sessions, pictures: list[Image], jobs: Jobs) -> object:
    return site_app(workspace, sessions, jobs, hosts=[HOST])


@pytest.fixture
def browser(app: object, sessions: Sessions) -> Iterator[Browser]:
    yield Browser(app, sessions.invite("lead", may_act=True))


PAGES = ("/", "/images", "/rounds", "/studies", "/releases", "/runs", "/atlas", "/try")


def test_nobody_sees_a_page_without_a_sign_in(app: object, pictures: list[Image]) -> None:
    stranger = Browser(app)
    for path in (*PAGES, "/images.json", f"/files/{pictures[0].file_sha256}/picture"):
        assert stranger.get(path).status_code == 401, path
    assert stranger.get("/?token=made-up").status_code == 401
    assert stranger.get("/static/site.css").status_code == 200


def test_a_token_lets_one_browser_in_once_and_for_twelve_hours(
    app: object, sessions: Sessions, clock: Clock
) -> None:
    token = sessions.invite("lead", may_act=True)
    first = Browser(app, token)
    answer = Browser(app).get(f"/?token={token}")
    assert answer.status_code == 401 and COOKIE not in answer.headers.get("Set-Cookie", "")
    assert first.get("/").status_code == 200
    clock.now += SIGNED_IN_S + 1
    assert first.get("/").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(
    app: object, sessions: Sessions
) -> None:
    answer = Browser(app).get(f"/images?token={sessions.invite('lead', may_act=False)}")
    cookie = answer.headers["Set-Cookie"]
    assert answer.headers["Location"] == "/images"
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie


def test_a_page_that_points_its_own_name_here_is_refused(browser: Browser) -> None:
    assert browser.get("/", Host="evil.example").status_code == 400


def test_a_form_needs_this_site_this_visitor_and_the_right_to_act(
    app: object, browser: Browser, sessions: Sessions
) -> None:
    data = {"csrf": browser.csrf(), "order": "stop"}
    assert browser.post("/runs/abc", data, origin="http://evil.example").status_code == 403
    assert browser.post("/runs/abc", data, origin="null").status_code == 403
    assert browser.post("/runs/abc", {**data, "csrf": "guessed"}).status_code == 403
    answer = browser.post("/runs/abc", data)  # let through, and there is no such run
    assert answer.status_code == 400 and "No run is at work" in answer.text
    looker = Browser(app, sessions.invite("guest", may_act=False))
    assert looker.post("/runs/abc", {**data, "csrf": looker.csrf()}).status_code == 403


def test_behind_a_proxy_with_tls_forms_come_from_https_and_the_cookie_stays_there(
    workspace: Workspace, sessions: Sessions, jobs: Jobs
) -> None:
    name = "curate.hospital.example"
    app = site_app(workspace, sessions, jobs, hosts=[HOST], behind_tls=[name])
    client = Client(app, use_cookies=False)
    token = sessions.invite("lead", may_act=True)
    answer = client.get(f"/?token={token}", base_url=f"http://{name}")
    assert "Secure" in answer.headers["Set-Cookie"]
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    page = client.get("/", base_url=f"http://{name}", headers={"Cookie": cookie})
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    for origin, status in ((f"http://{name}", 403), (f"https://{name}", 303)):
        headers = {"Cookie": cookie, "Origin": origin}
        data = {"csrf": found[1]}
        sent = client.post("/sign-out", base_url=f"http://{name}", data=data, headers=headers)
        assert sent.status_code == status


def test_signing_out_ends_the_session(browser: Browser) -> None:
    assert browser.post("/sign-out", {"csrf": browser.csrf()}).status_code == 303
    assert browser.get("/").status_code == 401


@pytest.mark.parametrize("path", PAGES)
def test_every_page_renders_in_an_empty_workspace(
    workspace: Workspace, sessions: Sessions, jobs: Jobs, path: str
) -> None:
    empty = site_app(workspace, sessions, jobs, hosts=[HOST])
    answer = Browser(empty, sessions.invite("lead", may_act=True)).get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", answer.text)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", answer.text)


def test_the_overviews_numbers_are_those_of_the_command(
    browser: Browser, workspace: Workspace
) -> None:
    assert browser.get("/.json").json == json.loads(json.dumps(read_status(workspace).to_json()))


def test_a_walk_through_the_gallery_shows_each_image_once_while_others_come_in(
    browser: Browser, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.site.images.CARDS", 5)
    before = {str(image.id) for image, _ in queries.images.images(workspace.session)}
    seen: list[str] = []
    page = browser.get("/images.json").json
    while True:
        assert page is not None
        seen += [card["image_id"] for card in page["images"]]
        if page["next"] is None:
            break
        add_pictures(workspace, 2, first_seed=100 * len(seen))
        workspace.session.commit()
        page = browser.get(f"/images.json?after={page['next']['after']}").json
    assert len(seen) == len(set(seen)) and set(seen) >= before


def test_filters_are_the_address(browser: Browser, workspace: Workspace) -> None:
    def found(query: str) -> list[dict[str, object]]:
        answer = browser.get(f"/images.json?{query}").json
        assert answer is not None
        return list(answer["images"])

    assert {card["label"] for card in found("label=f1")} == {"f1"}
    assert len(found("label=f1")) == 6
    assert found("label=nobody") == [] and found("origin=synthetic") == []
    assert len(found("words=FINDING 0")) == 6
    assert len(found("words=100%25")) == 0  # a sign of its own, no pattern
    assert "is not a number" in browser.get("/images?seed=x").text


def test_scores_order_the_gallery_and_the_unscored_stay_out(
    browser: Browser, workspace: Workspace, pictures: list[Image]
) -> None:
    give_scores(workspace, pictures)
    best = browser.get("/images.json?order=best").json
    worst = browser.get("/images.json?order=worst").json
    sure = browser.get("/images.json?order=least-sure&most_score=0.25").json
    assert best and worst and sure
    means = [card["score"] for card in best["images"]]
    assert means == sorted(means, reverse=True) and len(means) == 11
    assert [card["score"] for card in worst["images"]] == means[::-1]
    assert [card["score"] for card in sure["images"]] == [0.2, 0.1, 0.0]


def test_the_gallery_knows_the_nearest_to_training_and_what_raters_disagree_about(
    browser: Browser, workspace: Workspace, pictures: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "most-disagreement" not in browser.get("/images").text  # nobody has rated yet
    orders = {"nearest-training": "train_distance", "most-disagreement": "disagreement"}
    for column in orders.values():  # equal ones too, and one without
        values = {image.id: (number % 4) / 4 for number, image in enumerate(pictures[1:])}
        queries.standings.note_standings(workspace.session, column, values)
    workspace.session.commit()
    monkeypatch.setattr("curate.site.images.CARDS", 4)
    for order, column in orders.items():
        seen, after = list[tuple[str, float]](), ""
        while True:
            page = browser.get(f"/images.json?order={order}{after}").json
            assert page is not None
            seen += [(card["image_id"], card[column]) for card in page["images"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']['after']}"
        values_seen = [value for _, value in seen]
        assert values_seen == sorted(values_seen, reverse=order == "most-disagreement")
        assert len(dict(seen)) == len(seen) == 11
    page_shown = browser.get("/images?order=nearest-training").text
    assert "training image at 0.000" in page_shown and ">most-disagreement<" in page_shown
    assert "Disagreement of raters: 0.75" in browser.get(f"/images/{pictures[4].id}").text


def test_what_raters_said_of_an_open_study_orders_nothing(
    browser: Browser, workspace: Workspace, pictures: list[Image]
) -> None:
    raters = simulated_raters(3)
    campaign = create_campaign(workspace, name="study", images=pictures, raters=raters, overlap=3)
    asked = queries.campaigns.assignments(workspace.session, campaign.id)
    answers = [
        Answer(
            task_uid=str(view.id),
            rater=view.rater,
            criterion="quality",
            value=1 if view.rater == raters[0].name else 3,
            source_uid=str(view.id),
        )
        for view in asked
    ]
    take_answers(workspace, campaign, answers[:-1])
    assert browser.get("/images.json?order=most-disagreement").json == {"images": [], "next": None}
    take_answers(workspace, campaign, answers[-1:])
    found = browser.get("/images.json?order=most-disagreement").json
    assert found is not None
    # shares 0, 1, 1: mean 2/3, variance 2/9
    assert [card["disagreement"] for card in found["images"]] == pytest.approx(
        [2 * (2 / 9) ** 0.5] * 12
    )


def give_scores(ws: Workspace, images: list[Image]) -> None:
    """Give all but the last image 0, 0.1, ..., and a spread that rises with them."""
    [sha256] = queries.files.add_files(ws.session, ws.store, [(b"weights", "x")])
    model = RewardModel(
        id="a" * 64, backbone="tiny", file_sha256=sha256, simulated=True, num_ratings=1
    )
    ws.session.add(model)
    ws.session.flush()
    for number, image in enumerate(images[:-1]):
        score = Score(
            reward_model_id=model.id, image_id=image.id, mean=number / 10, spread=number / 100
        )
        ws.session.add(score)
    ws.session.commit()


def test_ratings_are_hidden_while_their_campaign_is_open(
    browser: Browser, workspace: Workspace, pictures: list[Image]
) -> None:
    campaign = create_campaign(
        workspace, name="open-study", images=pictures[:3], raters=simulated_raters(3), overlap=3
    )
    page = browser.get(f"/images/{pictures[0].id}").text
    assert "are hidden while it is open" in page
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    workspace.session.commit()
    page = browser.get(f"/images/{pictures[0].id}").text
    assert "are hidden" not in page
    assert len(re.findall(r"<td>[^<]+ <span class=\"pill\">simulated</span></td>", page)) == 3
    study = browser.get("/studies/open-study.json").json
    assert study is not None
    assert [(one["done"], one["total"]) for one in study["raters"]] == [(3, 3)] * 3


def test_an_open_study_hides_what_its_first_raters_have_said(
    browser: Browser, workspace: Workspace, pictures: list[Image]
) -> None:
    raters = simulated_raters(2)
    campaign = create_campaign(workspace, name="half", images=pictures[:2], raters=raters)
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    other = create_campaign(workspace, name="next", images=pictures[:2], raters=raters)
    workspace.session.commit()
    answer = browser.get(f"/images/{pictures[0].id}.json").json
    assert answer is not None
    assert answer["hidden_campaigns"] == [other.name]
    assert {one["campaign"] for one in answer["ratings"]} == {campaign.name}


def test_a_release_says_kept_of_offered_and_which_class_vanished(
    browser: Browser, workspace: Workspace, pictures: list[Image]
) -> None:
    [manifest] = queries.files.add_files(workspace.session, workspace.store, [(b"{}", "x")])
    release = Release(id="b" * 64, name="first", manifest_sha256=manifest)
    decisions = [
        ReleaseDecision(
            release_id=release.id,
            image_id=image.id,
            decision="kept" if number % 2 == 0 else "rejected",
            reason="score" if number % 2 == 0 else "score below the threshold",
        )
        for number, image in enumerate(pictures)
    ]
    queries.releases.add_release(workspace.session, release, decisions)
    found = browser.get(f"/releases/{release.id}.json").json
    assert found is not None
    by_label = {
        one["label"]: (one["kept"], one["offered"], one["is_short"]) for one in found["classes"]
    }
    assert by_label == {"f0": (6, 6, False), "f1": (0, 6, True)}
    page = browser.get(f"/releases/{release.id}").text
    assert "0 of 6 kept" in page
    kept = browser.get(f"/images.json?release_id={release.id}&decision=kept").json
    assert kept is not None and len(kept["images"]) == 6


def test_pixels_are_the_files_own_numbers(
    browser: Browser, pictures: list[Image], workspace: Workspace
) -> None:

    sha256 = pictures[0].file_sha256
    answer = browser.get(f"/files/{sha256}/pixels")
    says = json.loads(answer.headers["X-Sample"])
    array = np.frombuffer(answer.data, "<f4").reshape(says["shape"])
    np.testing.assert_array_equal(array, decode(workspace.store.get(sha256)).array)
    assert says["window"] == [0.0, 255.0]
    assert browser.get(f"/files/{sha256}/thumbnail").mimetype == "image/webp"
    assert (workspace.cache / "thumbnails" / sha256[:2] / f"{sha256}.webp").is_file()


def test_only_pictures_leave_the_store(browser: Browser, workspace: Workspace) -> None:
    [weights] = queries.files.add_files(workspace.session, workspace.store, [(b"weights", "x")])
    workspace.session.commit()
    for name in (weights, "..%2F..%2Fcurate.db", "0" * 64, "%00"):
        assert browser.get(f"/files/{name}/picture").status_code == 404, name
    assert browser.get("/static/..%2Fapp.py").status_code == 404


def test_no_address_and_no_form_gives_a_server_error(story: Story) -> None:
    found = fuzz(story.ws, count=400, seed=1)
    assert found.failures == []
    assert {200, 303, 400, 403, 404, 405} <= set(found.statuses)


def test_the_fuzzing_sees_a_page_that_fails(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(queries.gallery, "scores_of", broken)
    found = fuzz(story.ws, count=400, seed=1)
    assert found.failures and all("/images/" in line for line in found.failures)
    assert "the secret of the house" in capsys.readouterr().err


def test_a_bug_is_told_to_the_terminal_alone(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(queries.gallery, "cards", broken)
    answer = browser.get("/images")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "the secret of the house" in capsys.readouterr().err


def test_the_site_needs_no_torch() -> None:
    code = "import sys, curate.site.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
