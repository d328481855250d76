from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from curate.report import write_report


class _References(HTMLParser):
    """Everything a browser would fetch, and every tag that is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _read(path: Path) -> tuple[str, _References]:
    html = path.read_text(encoding="utf-8")
    references = _References()
    references.feed(html)
    assert references.open == []
    return html, references


def test_the_page_tells_the_story(story: Any, tmp_path: Path) -> None:
    path = write_report(story.ws, tmp_path / "page.html")
    html, references = _read(path)
    for said in [
        "Before and after",
        "seed 0",
        "All 12 ratings in this workspace come from simulated raters",
        "Health of the RL steps",
        "round 1",
        story.reward_model.id[:10],
    ]:
        assert said in html, said
    images = [uri for uri in references.fetched if uri.startswith("data:image/png;base64,")]
    assert len(images) == len(references.fetched) >= 3 + 2 * 2  # plots, and pairs of two prompts
