"""Practice in a real browser: by keyboard, in the dark, with feedback; it asks nobody else.

Leaves its screenshots in a folder named by CURATE_SCREENSHOTS, when that is set.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from curate.rating.practised import image_asked
from curate.workspace import Workspace
from db import queries
from db.models import Practice
from tests.annotation.label_studio.test_browser import chromium
from tests.annotation.label_studio.test_practice_door import door, passed, practice
from tests.axe import axe_or_skip, violations
from tests.curate.rating.practising import right_answer

__all__ = ["chromium", "door", "passed", "practice"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.apart]
KEYS = {"looks-real": "123", "shows-asked": "qwe"}
WITHOUT_SCROLLING = "document.documentElement.scrollHeight <= innerHeight"


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("CURATE_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_reader_practises_by_keyboard_sees_what_is_known_and_passes(
    workspace: Workspace, practice: Practice, door: str, chromium: Any
) -> None:
    images = queries.practices.images_of(workspace.session, practice.id)
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.add_cookies([{"name": "sessionid", "value": "ann", "url": door}])
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{door}/practice/{practice.id}")
    for number in range(10):
        page.wait_for_function("[...document.images].every(image => image.naturalWidth === 16)")
        assert page.evaluate(WITHOUT_SCROLLING)
        answer = right_answer(image_asked(practice, images, "ann", number))
        if number == 1:
            answer["looks-real"] = 4 - answer["looks-real"]
        for name, value in answer.items():
            page.keyboard.press(KEYS[name][value - 1])
        if number == 1:
            page.keyboard.press("x")
            assert page.inner_text("#levels") == "grey 0 to 255, inverted"
            picture(page, "practice-question")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".told")
        right = page.locator(".question.right").count()
        wrong = page.locator(".question.wrong").count()
        assert (wrong > 0) == (number == 1) and right + wrong >= 1
        if number in (1, 9):
            picture(page, f"practice-feedback-{number}")
        if number == 1:
            page.reload()  # nothing is answered anew
            page.go_back()
            page.goto(f"{door}/practice/{practice.id}/1")
        if number < 9:
            page.keyboard.press("Control+Enter")
            page.wait_for_selector("form")
    assert "9 of 10 right" in page.inner_text(".ended")
    assert len(queries.practices.answers_of(workspace.session, practice.id)) == 10
    page.goto(f"{door}/practice/{practice.id}")
    assert page.inner_text("h1") == "Passed"
    picture(page, "practice-passed")
    assert [url for url in asked if not url.startswith(door)] == []
    assert [line for line in said if "favicon" not in line and "401" not in line] == []
    context.close()


@pytest.mark.parametrize("width", [1366, 390])
def test_axe_finds_nothing_serious_on_the_practice_page(
    practice: Practice, door: str, chromium: Any, width: int
) -> None:
    axe = axe_or_skip()
    context = chromium.new_context(viewport={"width": width, "height": 768}, bypass_csp=True)
    context.add_cookies([{"name": "sessionid", "value": "ann", "url": door}])
    page = context.new_page()
    page.goto(f"{door}/practice/{practice.id}")
    found = violations(page, axe)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture(page, f"practice-{width}")
    for key in "1q":
        page.keyboard.press(key)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".told")
    assert [*found, *violations(page, axe)] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
