"""The site in a real browser: readable, by keyboard, asking nobody else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app as command_line
from curate.progress import progress
from curate.release.config import ExportConfig
from curate.release.publish import export_release
from curate.report import write_report
from curate.site.accounts import add_account
from curate.site.config import SiteConfig
from curate.site.serving import RunningSite, site
from db import queries
from tests.axe import axe_or_skip, violations
from tests.curate.conftest import Story
from tests.curate.evaluation.pictured import write_set

pytestmark = [pytest.mark.slow, pytest.mark.apart]
PATIENCE_MS = 120_000
# tables of which something lies beyond the screen's edge, where no key leads
CUT_OFF = """() => [...document.querySelectorAll("table")].filter(
    table => table.scrollWidth > table.clientWidth && !table.closest("[tabindex]")
).map(table => table.innerText)"""
FAULTS = (Path(__file__).parent / "faults.js").read_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as started:
        yield (browser := started.chromium.launch(executable_path=found, args=["--no-sandbox"]))
        browser.close()


@pytest.fixture
def running(story: Story) -> Iterator[RunningSite]:
    with site(story.ws, SiteConfig(port=0)) as made:
        yield made


def pages_of(story: Story) -> list[str]:
    """Return a path of every kind of page."""
    image = queries.images.images(story.ws.session, limit=1)[0][0]
    [row] = queries.rounds.rounds(story.ws.session)
    [study] = queries.campaigns.campaigns(story.ws.session)
    pages = ["/", "/images", f"/images/{image.id}", "/rounds", "/studies", "/releases", "/try"]
    pages += [f"/studies/{study.name}", "/images?order=best&modality=OCT", "/images?seed=x"]
    pages += [f"/releases/{row.id}" for row in queries.releases.releases(story.ws.session)]
    return [*pages, f"/rounds/{row.id}", "/atlas", "/atlas?words=drusen", "/nowhere"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(
    story: Story, running: RunningSite, chromium: Any, scheme: str
) -> None:
    axe = axe_or_skip()
    export_release(story.ws, None, ExportConfig(threshold=0.35), progress)
    add_account(story.ws, "lee", "look")  # the page before the sign-in has a form then
    story.ws.session.commit()
    page = chromium.new_page(color_scheme=scheme)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(running.url)
    found = violations(page, axe)
    page.goto(running.sign_in())
    for path in pages_of(story):
        page.goto(running.url + path)
        found += [f"{path} {fault}" for fault in violations(page, axe)]
    assert found == []
    page.goto("about:blank")  # without the site's policy, which lets no such style be
    page.set_content('<html lang="en"><title>x</title><p style="color:#aaa">pale</p></html>')
    assert [fault.partition(":")[0] for fault in violations(page, axe)] == ["color-contrast"]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_report(
    story: Story, chromium: Any, tmp_path: Path, scheme: str
) -> None:
    axe = axe_or_skip()
    export_release(story.ws, None, ExportConfig(threshold=0.35), progress)
    report = write_report(story.ws, tmp_path / "report.html")
    page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.goto(report.as_uri())
    assert violations(page, axe) == []
    assert page.evaluate(FAULTS) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 248, 250)", "dark": "rgb(17, 23, 28)"}[scheme]
    assert page.evaluate("[...document.querySelectorAll('th')].filter(e => !e.innerText)") == []
    page.close()


def test_axe_finds_nothing_serious_in_the_page_of_an_evaluation(
    chromium: Any, tmp_path: Path
) -> None:
    axe = axe_or_skip()
    shapes = {"disc": ("disc", 12), "bar": ("bar", 12)}
    train, test, made = (
        write_set(tmp_path / name, shapes, seed=seed, split=name)
        for seed, name in enumerate(("train", "test", "made"))
    )
    asked = ["--real", train, "--test", test, "--synthetic", made, "--cache", tmp_path / "cache"]
    place = tmp_path / "evaluation.html"
    answer = CliRunner().invoke(command_line, ["evaluate", *map(str, asked), "--page", str(place)])
    assert answer.exit_code == 0, answer.output
    for scheme in ("light", "dark"):
        page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.goto(place.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert violations(page, axe) == []
        assert page.evaluate(FAULTS) == []
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_narrow_and_asks_nobody_else(
    story: Story, running: RunningSite, chromium: Any, scheme: str
) -> None:
    pages = pages_of(story)
    page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE_MS)
    said, asked = [], set()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    page.goto(running.sign_in())
    for path in pages:
        page.goto(running.url + path)
        assert page.evaluate(FAULTS) == [], path
        assert page.evaluate(CUT_OFF) == [], path
        assert "built-in method" not in page.content(), path
    page.goto(running.url + "/atlas")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert asked == {running.url.removeprefix("http://")}
    assert [line for line in said if "404" not in line] == []  # /nowhere, and no policy's complaint
    page.close()


def test_picking_and_searching_work_by_keyboard(
    story: Story, running: RunningSite, chromium: Any
) -> None:
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(running.sign_in())
    page.goto(running.url + "/images")
    box = page.locator(".picked input").first
    box.focus()
    page.keyboard.press("Space")
    assert box.is_checked()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").press("Enter")
    assert saved.value.suggested_filename == "selection.csv"
    page.goto(running.url + "/atlas")
    page.get_by_label("Words").press_sequentially("drusen")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Synthetic").wait_for()
    page.close()
