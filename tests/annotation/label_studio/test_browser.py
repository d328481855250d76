"""Two radiologists at the real page in a real browser, and just the rows that they meant.

Leaves its screenshots in a folder named by CURATE_SCREENSHOTS, when that is set.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from annotation.base import SKIPPED
from curate.rating.config import PushOptions
from curate.rating.label_studio import label_studio_backend
from curate.rating.pull import pull_campaign
from curate.rating.send import Pushed, push
from curate.workspace import Workspace
from db import queries
from db.models import Assignment, Criterion, Rater, Rating
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import Rater as Person

pytestmark = [pytest.mark.slow, pytest.mark.apart]

RUBRIC = """
name = "oct"
instructions = "Look at each image as in daily reading."
reasons = ["wrong anatomy", "blurred", "grain or grid", "wrong modality", "text or marks"]
ask_origin = true

[[criteria]]
name = "quality"
question = "Would you train on it?"
scale = [1, 3]
wording = { 1 = "unusable", 2 = "with flaws", 3 = "fit for training" }

[[criteria]]
name = "anatomy"
question = "Is the anatomy plausible?"
scale = [1, 5]
wording = { 1 = "impossible", 5 = "as in life" }
"""
TASK = ".lsf-current-task__task-id"
UPDATE = "[data-testid=bottombar-update-button]"
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as started:
        try:
            browser = started.chromium.launch(executable_path=found, args=ARGUMENTS)
        except playwright.Error as error:
            pytest.skip(f"chromium does not start here: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Page:
    """One rater's page on a small laptop, and every address that it asked for."""

    def __init__(self, browser: Any, person: Person, address: str) -> None:
        self.page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = address
        self.page.goto(f"{person.client.base_url}/user/login/")
        self.page.fill("input[name=email]", person.email)
        self.page.fill("input[name=password]", person.password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "/user/login" not in url)
        self.page.goto(address)
        self.page.wait_for_selector("button[name=submit]", timeout=60_000)
        self.page.wait_for_selector(".konvajs-content canvas", timeout=60_000)
        self.press("Escape")  # the instructions

    @property
    def task(self) -> int:
        """Label Studio's number of the task on the page."""
        return int(self.page.inner_text(TASK).split()[0])

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, wording: str) -> None:
        self.page.click(f".lsf-choice:has-text('{wording}')")

    def sends(self, method: str, path: str, action: Any) -> None:
        """Do what makes the page send something, and wait until the server has taken it."""

        def fits(response: Any) -> bool:
            return response.request.method == method and path in response.url

        with self.page.expect_response(fits, timeout=30_000) as sent:
            action()
        assert sent.value.ok

    def moves(self, action: Any) -> None:
        """Do what brings another task, and wait for it."""
        before = self.task
        action()
        self.page.wait_for_function(
            f"now => parseInt(document.querySelector('{TASK}')?.innerText || now) !== now",
            arg=before,
            timeout=30_000,
        )
        self.page.wait_for_selector("button[name=submit]", timeout=30_000)

    def answers(self, action: Any) -> None:
        self.moves(lambda: self.sends("POST", "/annotations", action))

    def submit_by_keyboard(self) -> None:
        self.answers(lambda: self.press("Control+Enter"))

    def submit_by_mouse(self) -> None:
        self.answers(lambda: self.page.click("button[name=submit]"))

    def skip(self) -> None:
        self.answers(lambda: self.page.click("button[aria-label=skip-task]"))

    def back(self) -> None:
        self.moves(lambda: self.page.click("button[aria-label='Previous task']"))
        self.page.wait_for_selector(UPDATE, timeout=30_000)  # its answer is there too

    def update(self) -> None:
        self.sends("PATCH", "/annotations/", lambda: self.page.click(UPDATE))

    def delete(self, task: int, *, without_list: bool = False) -> None:
        """Delete the task's answer: its list's menu has what the label stream lacks.

        Behind the gateway the list of tasks may come after the task itself; Label Studio 1.23 then
        throws away the task that it shows (its console: "no longer part of a state tree") and sends
        nothing. There the list is kept from it; which came first was chance.
        """
        if without_list:
            self.page.route("**/api/tasks?page=*", lambda route: route.abort())
        self.page.goto(self.address.replace("labeling=1", f"task={task}"))
        self.page.wait_for_load_state("networkidle")  # it loads the task twice too
        self.page.hover(".lsf-annotation-button")
        self.page.click(".lsf-annotation-button__trigger")
        self.page.click("text=Delete Annotation")
        confirm = "[data-testid=dialog-ok-button]"
        self.sends("DELETE", "/annotations/", lambda: self.page.click(confirm))

    def height_left(self) -> float:
        """Return the pixels between the form's last field and the bar below it."""
        last = self.page.locator("[placeholder=Comment]").bounding_box()
        bar = self.page.locator(".lsf-bottombar").bounding_box()
        return float(bar["y"] - last["y"] - last["height"])

    def picture(self, name: str) -> None:
        folder = os.environ.get("CURATE_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=f"{folder}/{name}.png")


@pytest.fixture
def study(ws: Workspace, tmp_path: Path) -> Pushed:
    rubric = tmp_path / "rubric.toml"
    rubric.write_text(RUBRIC)
    options = PushOptions(
        name="browser",
        origin="real",
        max_images=5,
        rubric=rubric,
        raters=("ann", "ben"),
        control_fraction=0,
        repeat_fraction=0,
    )
    done = push(ws, options, images_from="local")
    ws.session.commit()
    return done


def test_what_two_radiologists_do_at_the_page_becomes_just_those_rows(
    ws: Workspace, served: Served, study: Pushed, chromium: Any
) -> None:
    ann = Page(chromium, served.raters["ann"], study.pages["ann"])
    ann.picture("rating-page")
    assert ann.height_left() > 0  # all is seen without scrolling
    shown = ann.page.inner_text(".lsf-main-view")
    assert all(f"[{key}]" in shown for key in "123qwertjkluiopn")  # every answer's key
    ann.press("3", "t", "j")  # by keyboard: fit for training, anatomy 5, real
    ann.picture("rating-answered")
    ann.submit_by_keyboard()
    for wording in ("1 unusable", "1 impossible", "synthetic", "blurred"):  # by mouse
        ann.choose(wording)
    ann.submit_by_mouse()
    ann.skip()
    ann.press("2", "w", "l")
    ann.submit_by_keyboard()
    ben = Page(chromium, served.raters["ben"], study.pages["ben"])
    ben.press("2", "e", "k")
    ben.submit_by_keyboard()
    campaign = queries.campaigns.find_campaign(ws.session, "browser")
    assert campaign is not None
    backend = label_studio_backend(ws)
    assert pull_campaign(ws, campaign, backend).taken.new == 5 * 3
    ben.back()  # the answer again, to edit it
    ben.choose("1 unusable")
    ben.update()
    ann.back()
    ann.delete(ann.task)
    assert pull_campaign(ws, campaign, backend).taken.revised == 1 + 3
    assert verdicts(ws) == {
        ("ann", 0): {"quality": [3], "anatomy": [5], "origin": [1]},
        ("ann", 1): {"quality": [1], "anatomy": [1], "origin": [2]},
        ("ann", 2): {"quality": [None], "anatomy": [None], "origin": [None]},
        ("ann", 3): {"quality": [2, None], "anatomy": [2, None], "origin": [3, None]},
        ("ben", 0): {"quality": [2, 1], "anatomy": [3], "origin": [2]},
    }
    assert reasons(ws) == {("ann", 1): ["blurred"], ("ann", 2): [SKIPPED]}
    ours = (served.url, "data:", "blob:")  # nothing is fetched from another machine
    assert [url for url in ann.asked + ben.asked if not url.startswith(ours)] == []


def looks(ws: Workspace) -> Iterator[tuple[tuple[str, int], str, Rating]]:
    campaign = queries.campaigns.find_campaign(ws.session, "browser")
    assert campaign is not None
    for rating in ws.session.exec(select(Rating).order_by(col(Rating.revision))):
        assignment = ws.session.get(Assignment, rating.assignment_id)
        criterion = ws.session.get(Criterion, rating.criterion_id)
        assert assignment is not None and criterion is not None
        rater = ws.session.get(Rater, assignment.rater_id)
        assert rater is not None
        if assignment.campaign_id == campaign.id:
            yield (rater.name, assignment.position), criterion.name, rating


def verdicts(ws: Workspace) -> dict[tuple[str, int], dict[str, list[int | None]]]:
    found: dict[tuple[str, int], dict[str, list[int | None]]] = {}
    for look, criterion, rating in looks(ws):
        found.setdefault(look, {}).setdefault(criterion, []).append(rating.value)
    return found


def reasons(ws: Workspace) -> dict[tuple[str, int], list[str]]:
    return {look: rating.reasons for look, _, rating in looks(ws) if rating.reasons}
