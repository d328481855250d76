"""The page itself: one HTML file with everything inside, readable without a network."""

from pathlib import Path
from typing import Any

import jinja2

from curate import __version__
from curate.evaluation.intervals import Estimate
from curate.evaluation.judge import NO_JUDGE
from curate.progress import ShowProgress, progress
from curate.report.config import ReportConfig
from curate.report.story import tell
from curate.web import PARTS
from curate.workspace import Workspace
from db.folders import replace_file


def write_report(
    ws: Workspace,
    path: Path | None = None,
    *,
    config: ReportConfig | None = None,
    show: ShowProgress = progress,
) -> Path:
    """Write the page, by default `reports/report.html` of the workspace, and return its path."""
    place = path or ws.folder / "reports" / "report.html"
    html = render("page.html", story=tell(ws, config or ReportConfig(), show))
    replace_file(place, html.encode())  # a reader sees the old page or the new one
    return place


def render(template: str, **told: Any) -> str:
    """Return the HTML of a page of this room, told these values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, PARTS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["points"] = points
    environment.filters["number"] = number
    environment.globals.update(no_judge=NO_JUDGE, version=__version__)
    return environment.get_template(template).render(**told)


def percent(estimate: Estimate) -> str:
    """Return a share with its interval: "62 % (55–69)"."""
    return f"{100 * estimate.value:.0f} % ({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"


def points(estimate: Estimate) -> str:
    """Return a difference of shares with its interval: "+21 points (+14 to +28)"."""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.0f} points ({low:+.0f} to {high:+.0f})"


def number(estimate: Estimate) -> str:
    """Return a figure with its interval: "0.213 (0.190–0.240)"."""
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"
