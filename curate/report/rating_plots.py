"""Plots of what ratings are worth: figures, severity and raters, each with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from annotation.agreement.rasch import RaterMeasure
from curate.agreement.figures import Figure
from curate.evaluation.intervals import Estimate
from curate.report.plots import GRID, INK, LAST, MUTED, OTHER, RATERS, plain, uri

COLOURS = (LAST, RATERS, OTHER, MUTED, INK)  # criteria
ROW = 0.3  # inches a line of a plot


@dataclass(frozen=True)
class Panel:
    """One figure of every rater: (value, low, high)."""

    title: str
    points: Mapping[str, tuple[float, float, float]]
    chance: float | None  # what guessing gives


def in_percent(share: Estimate) -> tuple[float, float, float]:
    """Return value, low and high in percent."""
    return 100 * share.value, 100 * share.low, 100 * share.high


def agreement(criteria: Mapping[str, Sequence[Figure]]) -> str | None:
    """Draw each criterion's figures with their intervals, one line a figure; None without any."""
    points = {
        criterion: {
            figure.name: (found.value, found.low, found.high)
            for figure in figures
            if (found := figure.estimate) is not None
        }
        for criterion, figures in criteria.items()
    }
    return _lines(points, "0 = as by chance (equal: none), 1 = always; 95 % intervals", right=1.0)


def severities(criteria: Mapping[str, Sequence[RaterMeasure]]) -> str | None:
    """Draw how strict each rater is on each criterion, in logits; None without any."""
    points = {
        criterion: {
            m.rater: (
                m.severity,
                m.severity - 1.96 * m.severity_se,
                m.severity + 1.96 * m.severity_se,
            )
            for m in measures
        }
        for criterion, measures in criteria.items()
    }
    return _lines(points, "← lenient   severity, logits, 95 % intervals   severe →")


def raters(panels: Sequence[Panel]) -> str | None:
    """Draw the panels side by side, the same raters in the same lines; None without any."""
    names = sorted({name for panel in panels for name in panel.points})
    if not names:
        return None
    size = (3.1 * max(2, len(panels)), 0.8 + ROW * len(names))
    drawing = Drawing(figsize=size, layout="constrained")
    grid = drawing.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(grid, panels, strict=True):
        top = float(len(names) - 1)
        lines = {top - names.index(name): at for name, at in panel.points.items()}
        _intervals(axes, lines, LAST, None)
        axes.set_title(panel.title, fontsize=8.5, loc="left", color=INK)
        if panel.chance is None:
            axes.set_xlim(left=0)
        else:
            axes.set_xlim(0, 103)
            axes.axvline(panel.chance, color=RATERS, linewidth=1, linestyle=(0, (4, 3)))
        plain(axes, grid="x")
    _name_lines(grid[0], names)
    return uri(drawing)


def _lines(
    criteria: Mapping[str, Mapping[str, tuple[float, float, float]]],
    unit: str,
    *,
    right: float | None = None,
) -> str | None:
    """Draw one line a name, each criterion a little below the one before; a line at zero."""
    names = list(dict.fromkeys(name for points in criteria.values() for name in points))
    if not names:
        return None
    rows = len(names) * max(1, 0.6 * len(criteria))
    drawing = Drawing(figsize=(7.2, 0.9 + ROW * rows), layout="constrained")
    axes = drawing.subplots()
    for place, (criterion, points) in enumerate(criteria.items()):
        shift = 0.22 * (place - (len(criteria) - 1) / 2)
        top = len(names) - 1 - shift
        lines = {top - names.index(name): at for name, at in points.items()}
        _intervals(axes, lines, COLOURS[place % len(COLOURS)], criterion)
    _name_lines(axes, names)
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(right=right)
    axes.set_xlabel(unit)
    if len(criteria) > 1:
        axes.legend(
            frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0)
        )
    plain(axes, grid="x")
    return uri(drawing)


def _name_lines(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names) - 1, -1, -1), names)
    axes.set_ylim(-0.6, len(names) - 0.4)


def _intervals(
    axes: Axes, points: Mapping[float, tuple[float, float, float]], colour: str, label: str | None
) -> None:
    """One point a line, at its height, with its interval."""
    values = [value for value, _, _ in points.values()]
    below = [value - low for value, low, _ in points.values()]
    above = [high - value for value, _, high in points.values()]
    axes.errorbar(
        values,
        list(points),
        xerr=[below, above],
        fmt="o",
        color=colour,
        label=label,
        markersize=5.5,
        elinewidth=1.6,
    )
    for height in points:
        axes.axhline(height, color=GRID, linewidth=0.5, zorder=0)
