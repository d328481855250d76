"""A radiologist's browser at the door before Label Studio: the page works, and only the page."""

from typing import Any

import pytest

from curate.workspace import Workspace
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import Rater
from tests.annotation.label_studio.test_apart import door
from tests.annotation.label_studio.test_browser import Page, chromium
from tests.annotation.label_studio.test_real_server import project_of, pull, pushed, rows

__all__ = ["chromium", "door"]  # fixtures

pytestmark = pytest.mark.slow

FETCH = """async ([method, path]) => {
    const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
    const sent = await fetch(path, {method: method, headers: {'X-CSRFToken': token}});
    return sent.status;
}"""


SHOWN = "() => [...document.images].some(image => image.naturalWidth === 64)"


def test_the_page_rates_skips_and_edits_at_the_door_and_reaches_nothing_else(
    ws: Workspace, served: Served, door: str, chromium: Any
) -> None:
    campaign, done = pushed(ws, "door in a browser", overlap=1, raters=("ann",))
    project = project_of(done, "ann")
    known = served.raters["ann"]
    page = Page(
        chromium,
        Rater(door, known.email, known.password),
        f"{door}/projects/{project}/data?labeling=1",
    )
    first = page.task
    page.press("3")
    page.submit_by_keyboard()
    page.press("2")
    page.submit_by_mouse()
    page.page.wait_for_function(SHOWN)
    page.picture("rating-page-at-the-door")
    assert pull(ws, campaign).new == 2
    page.back()
    page.press("1")
    page.update()
    page.page.goto(page.address)
    page.page.wait_for_selector("button[name=submit]")
    page.skip()
    page.delete(first)
    taken = pull(ws, campaign)
    assert (taken.new, taken.revised) == (1, 2)
    assert rows(ws, campaign) == sorted(
        [
            ("ann", 0, 3, 1),
            ("ann", 0, None, 2),
            ("ann", 1, 2, 1),
            ("ann", 1, 1, 2),
            ("ann", 2, None, 1),
        ],
        key=str,
    )
    for method, path in (
        ("GET", "/api/users/"),
        ("GET", "/api/current-user/token"),
        ("GET", f"/api/projects/{project}/export?exportType=JSON"),
        ("POST", f"/api/dm/actions?id=delete_tasks&project={project}"),
        ("PATCH", f"/api/projects/{project}/"),
    ):
        assert page.page.evaluate(FETCH, [method, path]) == 403, path
    strays = [url for url in page.asked if not url.startswith((door, "data:", "blob:"))]
    assert strays == []
    page.page.goto(f"{door}/")
    assert page.page.inner_text("h1") == "To read"
    page.picture("front-page-at-the-door")
