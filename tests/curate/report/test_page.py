import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from curate.evaluation.judge import NO_JUDGE, shipped_judge
from curate.progress import progress
from curate.release.config import ExportConfig
from curate.release.publish import export_release
from curate.report import write_report
from curate.report.config import ReportConfig
from curate.report.versions import before_and_after, one_a_prompt, version_names
from curate.workspace import Workspace
from db import queries
from db.models import ROUND_STATES, Round
from tests.curate.conftest import Story, steps


class _References(HTMLParser):
    """Everything a browser would fetch, all that it would show, and every tag left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f" {' '.join(data.split())}"


def _read(path: Path) -> _References:
    html = path.read_text(encoding="utf-8")
    page = _References()
    page.feed(html)
    assert page.open == []
    assert "@import" not in html and "url(" not in html
    return page


def test_the_page_tells_the_story_with_everything_inside(story: Any, tmp_path: Path) -> None:
    export_release(story.ws, tmp_path / "vetted", ExportConfig(threshold=0.35), progress)
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    for said in (
        "Before and after",
        "the judge gives its top rating to",
        "4 pairs of the same prompt and seed",
        "All 8 ratings in this workspace come from simulated raters",
        "Health of the RL steps",
        "AUC, best-rated against worst-rated 0.910",
        "round 1 of loop promoted; share of top ratings changed by +10.0 points",
        "8 ratings by 1 simulated raters (6 fitted, 2 held-out): 3 × 1, 3 × 2, 2 × 3",
        "+10 (+2 to +18)",
        "of 24 images, each with a score of at least 0.350",
    ):
        assert said in page.text, said
    pictures = [uri for uri in page.fetched if uri.startswith("data:image/png;base64,")]
    assert pictures == page.fetched and len(pictures) > 3 + 2 * 2 + 12  # plots, pairs, the rest


def test_an_empty_workspace_has_a_page_that_says_how_to_begin(workspace: Workspace) -> None:
    path = write_report(workspace)
    assert path == workspace.folder / "reports" / "report.html"
    page = _read(path)
    assert "Nothing has been generated yet" in page.text and "curate quickstart" in page.text
    assert page.fetched == [] and "Simulated ratings" not in page.text


def test_images_without_ratings_or_scores_have_a_page(story: Any, tmp_path: Path) -> None:
    """A workspace right after its first `curate generate`."""
    from sqlalchemy import text

    session = story.ws.session
    for table in ("score", "round", "reward_model_rating"):
        session.connection().execute(text(f"DELETE FROM {table}"))
    session.commit()
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    assert "Samples" in page.text or "Before and after" in page.text
    assert "Best by score" not in page.text


def test_unknown_modalities_have_no_independent_judge(story: Any, tmp_path: Path) -> None:
    for prompt in story.prompts:
        prompt.modality = "Ultrasound"
        story.ws.session.add(prompt)
    story.ws.session.commit()
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    assert NO_JUDGE in page.text and "the raters' verdict stands alone" in page.text
    assert "the judge gives its top rating" not in page.text


def test_what_a_prompt_says_is_text_and_never_markup(story: Any, tmp_path: Path) -> None:
    story.prompts[0].text = "<script>alert('drusen')</script>"
    story.ws.session.add(story.prompts[0])
    story.ws.session.commit()
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    assert "<script>alert('drusen')</script>" in page.text
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_ratings_of_people_are_not_called_simulated(story: Any, tmp_path: Path) -> None:
    from sqlmodel import select

    from db.models import Rater

    rater = story.ws.session.exec(select(Rater)).one()
    rater.name = "reader 1"
    rater.simulated = story.campaign.simulated = story.reward_model.simulated = False
    story.ws.session.add_all([rater, story.campaign, story.reward_model])
    story.ws.session.commit()
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    assert not re.search("simulated", page.text)


def test_only_images_that_no_rater_saw_are_compared(story: Any) -> None:
    """The raters' verdict promoted the new version: their images would flatter it."""
    names = {version.id: version.how_made for version in story.versions}
    found = before_and_after(story.ws, shipped_judge(), names, ReportConfig(), None)
    assert found is not None and found.in_use and found.num_pairs == 2 * len((4, 5))
    assert [(a.seed, b.seed) for a, b in found.pairs] == [(4, 4), (4, 4)]


def test_versions_are_named_by_the_round_that_made_them(story: Any) -> None:
    rounds = queries.rounds.rounds(story.ws.session)
    versions = queries.versions.versions(story.ws.session)
    assert list(version_names(versions, rounds).values()) == ["base", "round 1"]
    assert list(version_names(versions, []).values()) == ["imported", "rl-step"]
    rounds[0].state = "rejected"
    assert list(version_names(versions, rounds).values()) == ["base", "round 1 (rejected)"]
    twins = version_names([versions[0], versions[0].model_copy(update={"id": "f" * 64})], [])
    assert twins["f" * 64] == "imported ffffff"


def test_pairs_are_one_a_prompt_with_modalities_in_turn(story: Any) -> None:
    before, after = (version.id for version in story.versions)
    pairs = queries.images.same_noise_pairs(
        story.ws.session, before_id=before, after_id=after, reward_model_id=None
    )
    assert len(pairs) == 12
    assert all(a.seed == b.seed and a.prompt_id == b.prompt_id for a, b in pairs)
    chosen = one_a_prompt(pairs, 12)
    assert [(a.modality, a.seed) for a, _ in chosen] == [("CXR", 0), ("OCT", 0)]
    assert len(one_a_prompt(pairs, 1)) == 1


def test_a_rejected_version_is_shown_and_said_to_be_out_of_use(story: Any, tmp_path: Path) -> None:
    row = queries.rounds.rounds(story.ws.session)[0]
    row.state = "rejected"
    story.ws.session.add(row)
    story.ws.session.commit()
    page = _read(write_report(story.ws, tmp_path / "page.html"))
    assert "No gate has let round 1 (rejected) pass: base stays in use." in page.text
    assert "Left base, right round 1 (rejected)" in page.text


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_large_and_deep_images_become_small_eight_bit_pictures(dtype: str) -> None:
    import base64
    import io

    import numpy as np
    from PIL import Image

    from curate.report.pictures import small_png_uri
    from curate.samples.pixels import png_bytes

    top = np.iinfo(dtype).max
    array = np.linspace(0, top, 600 * 300).reshape(600, 300).astype(dtype)
    encoded = base64.b64decode(small_png_uri(png_bytes(array)).partition(",")[2])
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.size == (96, 192) and picture.mode == "L"
        assert abs(np.asarray(picture).astype(float).mean() - 127.5) < 2


def test_the_page_opens_while_rounds_are_in_any_state(story: Any, tmp_path: Path) -> None:
    """Before its gate has decided, a round has no figures of one."""
    session = story.ws.session
    for number, state in enumerate(ROUND_STATES, start=2):
        session.add(
            Round(
                loop_name="waiting",
                number=number,
                state=state,
                base_version_id=story.versions[0].id,
                start_version_id=story.versions[0].id,
                new_version_id=story.versions[1].id,
            )
        )
    session.commit()
    text = " ".join(_read(write_report(story.ws, tmp_path / "page.html")).text.split())
    assert all(f"waiting {number} {state}" in text for number, state in enumerate(ROUND_STATES, 2))


@pytest.mark.parametrize("num_steps", [0, 3, 4, 5])
def test_the_page_opens_after_each_step_of_the_work(
    workspace: Workspace, tmp_path: Path, num_steps: int
) -> None:
    told = Story(workspace)
    for step in steps()[:num_steps]:
        step(told)
    workspace.session.commit()
    assert _read(write_report(workspace, tmp_path / "page.html")).text


def test_a_dollar_in_a_name_begins_no_formula() -> None:
    from curate.evaluation.intervals import Estimate
    from curate.report import plots

    name = r"r$\frac{$"
    points = {name: Estimate(0.5, 0.4, 0.6, 10)}
    assert plots.shares({name: points}, {name: "black"}, [name], None).startswith("data:image/png")
