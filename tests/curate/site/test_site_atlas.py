"""The atlas as a browser meets it; the searches' process is the real one."""

import io
import re
import time
from contextlib import closing

import pytest
from werkzeug.test import TestResponse

from curate.rating.simulate import simulated_raters
from curate.site.app import site_app
from curate.site.jobs import Jobs
from curate.site.worker import work
from curate.web.pages import Sessions
from curate.workspace import Workspace
from tests.curate.campaigns import create_campaign
from tests.curate.pictures import add_pictures
from tests.curate.site.test_site import HERE, HOST, Browser


def found_at(browser: Browser, answer: TestResponse) -> TestResponse:
    """Follow a search's redirect until it has ended."""
    assert answer.status_code == 303, answer.text
    place = answer.headers["Location"]
    while True:
        page = browser.get(place)  # asked first: what is under way now was so then
        seen = browser.get(f"{place}.json").json
        if seen is None or seen["state"] not in ("waiting", "working"):
            return browser.get(place)
        assert "hx-trigger" in page.text
        time.sleep(0.05)


@pytest.mark.slow
def test_an_image_is_searched_for_and_kept_nowhere(workspace: Workspace) -> None:
    images = add_pictures(workspace, 6)
    workspace.session.commit()
    known = {path for path in workspace.folder.rglob("*") if "cache" not in path.parts}
    sessions = Sessions()
    with closing(Jobs(workspace.folder, work)) as jobs:
        app = site_app(workspace, sessions, jobs, hosts=[HOST])
        browser = Browser(app, sessions.invite("lead", may_act=False))
        content = workspace.store.get(images[2].file_sha256)

        def send(data: bytes, csrf: str) -> TestResponse:
            return browser.client.post(
                "/atlas/searches",
                base_url=HERE,
                data={"csrf": csrf, "modality": "OCT", "image": (io.BytesIO(data), "my.png")},
                headers={"Origin": HERE},
            )

        assert send(content, "guessed").status_code == 403
        answer = send(content, browser.csrf())
        page = found_at(browser, answer).text
        shown = re.findall(r'class="card" href="/images/([^"]+)"', page)
        assert shown[0] == str(images[2].id) and len(shown) == 6
        assert "distance 0.000" in page and "research and teaching only" in page
        wrong = found_at(browser, send(b"no image", browser.csrf())).text
        assert "my.png: not an image of a known kind" in wrong
        create_campaign(
            workspace, name="open", images=images[2:3], raters=simulated_raters(1), overlap=1
        )
        workspace.session.commit()
        again = browser.get(answer.headers["Location"]).text
        assert str(images[2].id) not in again and str(images[3].id) in again
        like = {"csrf": browser.csrf(), "image_id": str(images[0].id)}
        page = found_at(browser, browser.post("/atlas/searches", like)).text
        assert str(images[0].id) not in re.findall(r'class="card" href="/images/([^"]+)"', page)
        assert f"curate search {images[0].id}" in page
    assert {path for path in workspace.folder.rglob("*") if "cache" not in path.parts} == known


def test_words_are_in_the_address_and_in_the_command(workspace: Workspace) -> None:
    add_pictures(workspace, 2)
    workspace.session.commit()
    sessions = Sessions()
    with closing(Jobs(workspace.folder, work)) as jobs:
        app = site_app(workspace, sessions, jobs, hosts=[HOST])
        browser = Browser(app, sessions.invite("lead", may_act=False))
        page = browser.get("/atlas?words=FINDING+1&modality=OCT").text
        assert "curate search &#39;FINDING 1&#39; --modality OCT" in page
        told = browser.get("/atlas.json?words=FINDING+1&modality=OCT").json
        assert told is not None and told[0]["finding"] == "f1" and len(told) == 2
        for form in ({}, {"image_id": "x"}):
            data = {"csrf": browser.csrf(), **form}
            assert browser.post("/atlas/searches", data).status_code == 400
        assert browser.get("/atlas/searches/0").status_code == 404
