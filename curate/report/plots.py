"""Plots as PNG data URIs: one look for all, without matplotlib's global state."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from curate.evaluation.intervals import Estimate
from curate.report.pictures import png_uri

INK, MUTED, GRID = "#1f2933", "#52636f", "#e4e9ee"
FIRST, LAST, OTHER = "#9aa9b8", "#0b6e75", "#7fb4b8"  # base, newest and the versions between
RATERS = "#c77d2e"
DPI = 180  # sharp on a dense screen at half the size
ARMS = ("#9aa9b8", "#0b6e75", "#c77d2e", "#5b4b8a", "#7fb4b8", "#a02f2f", "#6b7f3a")
MARKERS = "osD^vP*"
BINS = 30
COLUMNS = 3  # of small multiples


@dataclass(frozen=True)
class Curve:
    """One figure over the updates of all RL steps, with a band where low and high are given."""

    title: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Points:
    """One figure of several sets by their names, and of held-out real images."""

    title: str
    of: Mapping[str, Estimate]
    real: Estimate | None


@dataclass(frozen=True)
class Ratios:
    """Accuracies by the number of synthetic images for each real one, and of real ones alone."""

    title: str
    alone: Estimate | None
    arms: Mapping[str, Mapping[int, Estimate]]


def score_distributions(scores: Mapping[str, Sequence[float]], threshold: float | None) -> str:
    """Draw one row of scores (0 .. 1) a version, oldest on top, and a release's threshold."""
    figure = Figure(figsize=(7.2, 0.75 + 0.62 * len(scores)), layout="constrained")
    axes = figure.subplots()
    bottoms = [len(scores) - 1 - row for row in range(len(scores))]
    for row, (bottom, values) in enumerate(zip(bottoms, scores.values(), strict=True)):
        counts, edges = np.histogram(values, bins=BINS, range=(0, 1))
        height: NDArray[np.float64] = 0.85 * counts / max(counts.max(), 1)
        axes.stairs(
            bottom + height,
            edges,
            baseline=bottom,
            fill=True,
            color=_colour(row, len(scores)),
            alpha=0.9,
        )
        mean = float(np.mean(values))
        axes.plot([mean, mean], [bottom, bottom + 0.85], color=INK, linewidth=1.2)
        _write(axes, f"mean {mean:.2f} of {len(values):,}", 1.01, bottom + 0.3, MUTED)
    if threshold is not None:
        axes.axvline(threshold, color=RATERS, linewidth=1.2, linestyle=(0, (4, 3)))
        _write(axes, " threshold", threshold, len(scores), RATERS)
    axes.set_yticks([bottom + 0.3 for bottom in bottoms], list(scores))
    axes.set_ylim(-0.02, len(scores) + 0.1)
    axes.set_xlim(0, 1)
    axes.set_xlabel("score: probability of the top rating, as the reward model sees it")
    plain(axes, grid="x")
    return uri(figure)


def shares(
    series: Mapping[str, Mapping[str, Estimate]],
    colours: Mapping[str, str],
    names: Sequence[str],
    real: Estimate | None,
) -> str:
    """Draw shares of top ratings with intervals: series -> version -> share, in order of `names`.

    Real images, which show what can be reached, are a band.
    """
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    if real is not None:
        axes.axhspan(100 * real.low, 100 * real.high, color=GRID, linewidth=0, zorder=0)
        axes.axhline(100 * real.value, color=MUTED, linewidth=1, zorder=1)
        _write(axes, "held-out\nreal images", len(names) - 0.48, 100 * real.value, MUTED)
    for place, (label, points) in enumerate(series.items()):
        shift = 0.09 * (place - (len(series) - 1) / 2)  # side by side, so that no bar hides another
        x = [names.index(name) + shift for name in points]
        # Points in percent, joined, each with its interval.
        estimates = list(points.values())
        y = [100 * estimate.value for estimate in estimates]
        below = [100 * (estimate.value - estimate.low) for estimate in estimates]
        above = [100 * (estimate.high - estimate.value) for estimate in estimates]
        axes.errorbar(
            x,
            y,
            [below, above],
            fmt="o-",
            color=colours[label],
            label=label,
            markersize=6,
            elinewidth=1.6,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of top ratings, %")
    plain(axes, grid="y")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return uri(figure)


def curves(panels: Sequence[Curve], starts: Sequence[int]) -> str:
    """Draw small multiples over all updates as a data URI, as `curves_figure` draws them."""
    return uri(curves_figure(panels, starts))


def curves_figure(
    panels: Sequence[Curve],
    starts: Sequence[int],
    *,
    at: Sequence[float] = (),
    counted: str = "update",
) -> Figure:
    """Draw small multiples over all updates; `starts` says at which update each round begins.

    Without `at`, which says where else the values stand, they stand at 1, 2, 3 ...
    """
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(3.1 * COLUMNS, 1.95 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        x = np.asarray(at) if len(at) else np.arange(1, len(panel.values) + 1)
        if panel.low is not None and panel.high is not None:
            axes.fill_between(x, panel.low, panel.high, color=OTHER, alpha=0.35, linewidth=0)
        axes.plot(x, panel.values, color=LAST, linewidth=1.5, marker="o", markersize=2.5)
        for start in starts[1:]:
            axes.axvline(start + 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        if not any(panel.values):
            axes.set_ylim(-0.05, 1)  # all zero: a magnified axis would only show rounding
        axes.set_title(panel.title, fontsize=8.5, loc="left", color=INK)
        axes.locator_params(axis="x", integer=True, nbins=6)
        plain(axes, grid="y")
    for axes in grid[-1]:
        axes.set_xlabel(counted, fontsize=8)
    return figure


def intervals(panels: Sequence[Points]) -> str:
    """Draw each figure's interval for each set; held-out real images are a band."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(panel.of) for panel in panels)
    size = (4.6 * columns, (0.75 + 0.24 * most) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        if panel.real is not None:
            axes.axvspan(panel.real.low, panel.real.high, color=GRID, linewidth=0, zorder=0)
            axes.axvline(panel.real.value, color=MUTED, linewidth=1, zorder=1)
        for place, one in enumerate(panel.of.values()):
            colour = _colour(place, len(panel.of))
            axes.plot([one.low, one.high], [-place, -place], color=colour, linewidth=2)
            axes.plot([one.value], [-place], "o", color=colour, markersize=5)
        axes.set_yticks([-place for place in range(len(panel.of))], list(panel.of))
        axes.set_ylim(0.6 - len(panel.of), 0.6)
        axes.set_title(panel.title, fontsize=8.5, loc="left", color=INK)
        plain(axes, grid="x")
    return uri(figure)


def gains(panels: Sequence[Ratios]) -> str:
    """Draw accuracy over the synthetic images for each real one; real images alone are a band."""
    figure = Figure(figsize=(3.1 * len(panels), 3.3), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    names = list(dict.fromkeys(name for panel in panels for name in panel.arms))
    for axes, panel in zip(grid.flat, panels, strict=True):
        if panel.alone is not None:
            ends = (100 * panel.alone.low, 100 * panel.alone.high)
            axes.axhspan(*ends, color=GRID, linewidth=0, zorder=0)
            axes.axhline(100 * panel.alone.value, color=MUTED, linewidth=1, zorder=1)
        ratios = sorted({ratio for arm in panel.arms.values() for ratio in arm})
        for name, arm in panel.arms.items():
            place = names.index(name)
            shift = 0.6 * ((place + 0.5) / len(names) - 0.5)  # so that no bar hides another
            ones = list(arm.values())
            axes.errorbar(
                [ratios.index(ratio) + shift for ratio in arm],
                [100 * one.value for one in ones],
                [
                    [100 * (one.value - one.low) for one in ones],
                    [100 * (one.high - one.value) for one in ones],
                ],
                fmt=f"{MARKERS[place % len(MARKERS)]}-",
                color=ARMS[place % len(ARMS)],
                label=name,
                markersize=4.5,
                elinewidth=1.2,
                linewidth=1,
            )
        axes.set_xticks(range(len(ratios)), [f"{ratio}x" for ratio in ratios])
        axes.set_xlim(-0.6, len(ratios) - 0.4)
        axes.set_title(panel.title, fontsize=8.5, loc="left", color=INK)
        axes.set_xlabel("synthetic images for each real one")
        plain(axes, grid="y")
    grid[0, 0].set_ylabel("balanced accuracy on real patients, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside lower left")
    return uri(figure)


def _colour(place: int, count: int) -> str:
    if place == count - 1:
        return LAST
    return FIRST if place == 0 else OTHER


def _write(axes: Axes, text: str, x: float, y: float, colour: str) -> None:
    axes.text(x, y, text, fontsize=7.5, color=colour, va="center", clip_on=False)


def plain(axes: Axes, *, grid: str) -> None:
    """A grid along one axis and nothing else that is not a figure."""
    for side in ("top", "right", "left" if grid == "y" else "bottom"):
        axes.spines[side].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    axes.grid(axis="x" if grid == "x" else "y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=INK, labelsize=8, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=MUTED, fontsize=8)
        axis.get_offset_text().set(color=MUTED, fontsize=7)


def uri(figure: Figure) -> str:
    """Return the drawing as a data URI, on whatever lies below it."""
    return png_uri(png_of(figure, is_transparent=True))


def png_of(figure: Figure, *, is_transparent: bool) -> bytes:
    """Return the drawing as PNG; white below it unless it is transparent."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names of others are words: a dollar begins no formula
    look = {"transparent": True} if is_transparent else {"facecolor": "white"}
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, **look)
    return buffer.getvalue()
