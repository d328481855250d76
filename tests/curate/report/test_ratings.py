"""The section about ratings: figures, plots, warnings, and words where there is no figure."""

from pathlib import Path
from typing import Any

import pytest

from curate.report import write_report
from curate.report.ratings import ratings_stories
from curate.workspace import Workspace
from tests.curate.agreement.test_worth import people
from tests.curate.pictures import BrightnessEyes, add_pictures


@pytest.fixture
def studied(workspace: Workspace) -> Workspace:
    from curate.rating.simulate import simulate_campaign, simulated_raters
    from tests.curate.campaigns import create_campaign

    campaign = create_campaign(
        workspace,
        name="first",
        images=add_pictures(workspace, 40),
        raters=simulated_raters(3),
        overlap=3,
        repeat_fraction=0.2,
    )
    simulate_campaign(workspace, campaign, eyes=BrightnessEyes(), advance=lambda _: None)
    people(workspace)
    return workspace


def test_people_and_simulated_raters_have_figures_and_plots_of_their_own(
    studied: Workspace,
) -> None:
    first, second = ratings_stories(studied)
    assert not first.worth.simulated and second.worth.simulated
    for story in (first, second):
        for plot in (story.agreement_plot, story.severity_plot, story.raters_plot):
            assert plot is None or plot.startswith("data:image/png;base64,")
    assert first.raters_plot and second.agreement_plot and second.severity_plot
    assert any("no image was shown twice" in line for line in first.missing())


def test_the_page_tells_them_apart_and_warns(studied: Workspace, tmp_path: Path) -> None:
    html = write_report(studied, tmp_path / "page.html").read_text()
    section = html[html.index("What the ratings are worth") : html.index("Reward models</h2>")]
    assert "Radiologists" in section and "Simulated raters" in section
    assert "Fewer than 8 controls were answered by ann, ben" in section
    assert "Not to be had: realism: repeats: weighted kappa" in section


def test_one_rater_alone_has_words_instead_of_plots(story: Any) -> None:
    [alone] = ratings_stories(story.ws)
    assert alone.agreement_plot is None and alone.severity_plot is None
    assert any("there is one rater" in line for line in alone.missing())
