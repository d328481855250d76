"""A radiologist's browser at the door before Label Studio: the page works, and only the page."""

from typing import Any

import pytest

from curate.rating.config import PushOptions
from curate.rating.send import Pushed, push
from curate.workspace import Workspace
from db import queries
from db.models import Image
from tests.annotation.label_studio.conftest import Served
from tests.annotation.label_studio.rater import QUALITY, Rater
from tests.annotation.label_studio.test_apart import door
from tests.annotation.label_studio.test_browser import Page, chromium
from tests.annotation.label_studio.test_real_server import project_of, pull, pushed, rows
from tests.annotation.label_studio.volumes import SIDE, add_edits, add_volumes

__all__ = ["chromium", "door"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.apart]

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
    page.page.wait_for_selector(".konvajs-content canvas")
    page.press("Escape")  # the instructions, anew
    page.skip()
    page.delete(first, without_list=True)
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


RUNS = """() => {
    const canvas = [...document.querySelectorAll('.konvajs-content canvas')]
        .find(c => c.getContext('2d').getImageData(20, 20, 1, 1).data[3] > 0);
    const row = canvas.getContext('2d').getImageData(0, 20, canvas.width, 1).data;
    let runs = 0;
    for (let i = 4; i < row.length; i += 4) runs += row[i] !== row[i - 4];
    return runs;
}"""


PLACES = """() => [...document.querySelectorAll('.lsf-image')].map(
    image => { const at = image.getBoundingClientRect(); return [at.top, at.left, at.bottom]; })"""


def opened(served: Served, door: str, done: Pushed, chromium: Any) -> Page:
    """Ann's page of a campaign, at the door, with its image."""
    known = served.raters["ann"]
    person = Rater(door, known.email, known.password)
    page = Page(chromium, person, f"{door}/projects/{project_of(done, 'ann')}/data?labeling=1")
    page.page.wait_for_selector(".konvajs-content canvas")
    page.page.wait_for_function("document.querySelector('#curate-progress').innerText !== ''")
    return page


def test_a_reader_sees_sharp_pixels_in_the_dark_windows_them_and_knows_how_far_it_is(
    ws: Workspace, served: Served, door: str, chromium: Any
) -> None:
    _, done = pushed(ws, "in the dark", overlap=1, raters=("ann",))
    page = opened(served, door, done, chromium)
    shown = page.page
    assert shown.evaluate("document.documentElement.dataset.colorScheme") == "dark"
    assert shown.inner_text("#curate-title") == "OCT: 4 images"
    assert shown.inner_text("#curate-progress") == "0 of 4 read"
    shown.wait_for_load_state("networkidle")  # a task is loaded twice, and the second resets greys
    shown.wait_for_function(f"({RUNS})() <= 64")  # 64 pixels a row: each is one square
    image = shown.locator(".lsf-image").bounding_box()
    assert image["height"] > 0.8 * 768  # of the screen
    page.picture("reading")
    x, y = image["x"] + 200, image["y"] + 200
    shown.mouse.move(x, y)
    shown.mouse.down(button="right")
    shown.mouse.move(x - 150, y + 40, steps=4)  # half as wide, 20 grey levels up
    shown.mouse.up(button="right")
    assert shown.inner_text("#curate-levels") == "grey 84 to 211"  # 147.5 -+ 63.75
    slope = shown.get_attribute("#curate-window feFuncR", "slope")
    assert float(slope) == pytest.approx(255 / 127.5)
    page.press("x")
    assert shown.inner_text("#curate-levels").endswith("inverted")
    page.picture("reading-windowed")
    width = "document.querySelector('.lsf-image').firstElementChild.style.transform"
    before = shown.evaluate(width)
    shown.mouse.wheel(0, -300)
    shown.wait_for_function(f"{width} !== {before!r}")
    page.press("z", "3")
    assert shown.inner_text("#curate-levels") == "grey 0 to 255"
    page.submit_by_keyboard()
    shown.wait_for_function("document.querySelector('#curate-progress').innerText[0] === '1'")
    page.skip()
    shown.wait_for_function("document.querySelector('#curate-progress').innerText[0] === '2'")
    said = shown.inner_text("body")
    assert "Forbidden" not in said and "Settings" not in said
    for place in ("Settings", "settings", "main-menu-trigger", "userpic"):
        for way in shown.locator(f"[aria-label={place}], [data-testid={place}]").all():
            assert not way.is_visible(), place


def test_a_prior_stands_beside_its_edit_and_a_volume_is_seen_by_slices(
    ws: Workspace, served: Served, door: str, chromium: Any
) -> None:
    def asked(name: str, images: list[Image]) -> Page:
        options = PushOptions(
            name=name,
            origin="real",
            among=frozenset(image.id for image in images),
            overlap=1,
            raters=("ann",),
            control_fraction=0,
            repeat_fraction=0,
            rubric=QUALITY,
        )
        done = push(ws, options)
        ws.session.commit()
        return opened(served, door, done, chromium)

    page = asked("edits", add_edits(ws, 2))
    page.page.wait_for_function("document.querySelectorAll('.lsf-image img').length === 2")
    captions = page.page.locator("h5, h4").all_inner_texts()
    assert [text for text in captions if text in ("prior", "to be rated")] == [
        "prior",
        "to be rated",
    ]
    page.picture("prior-and-edit")
    page.press("3")
    page.submit_by_keyboard()
    page = asked("volumes", add_volumes(ws, 2))
    sizes = "[...document.querySelectorAll('.lsf-image img')].map(i => i.naturalWidth)"
    page.page.wait_for_function(f"{sizes}.length === 9 && {sizes}.every(width => width > 0)")
    assert page.page.evaluate(sizes) == [SIDE] * 9  # nine pictures, three in a row, all on the page
    places = page.page.evaluate(PLACES)
    tops, lefts = ([round(place[axis]) for place in places] for axis in (0, 1))
    assert tops[0] == tops[2] < tops[3] == tops[5] < tops[6] == tops[8]
    assert lefts[0] == lefts[3] == lefts[6] < lefts[1] < lefts[2]
    assert max(place[2] for place in places) <= 768
    page.picture("volume")
    page.press("2")
    page.submit_by_keyboard()
    for name, value in (("edits", 3), ("volumes", 2)):
        campaign = queries.campaigns.find_campaign(ws.session, name)
        assert campaign is not None
        assert pull(ws, campaign).new == 1
        assert ("ann", 0, value, 1) in rows(ws, campaign)
