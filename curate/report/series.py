"""The curves of a training, drawn against its steps."""

from pathlib import Path

from curate.evaluation.series import BETTER, Series
from curate.report.plots import Curve, curves_figure, png_of
from db.folders import replace_file


def draw_series(workspace: Path, series: Series) -> str:
    """Draw each figure that all versions have; return the picture's path below the workspace."""
    versions = series.versions
    panels = [
        Curve(
            f"{name} ({'higher' if better > 0 else 'lower'} is better)",
            *(
                [getattr(one.figures[name], end) for one in versions]
                for end in ("value", "low", "high")
            ),
        )
        for name, better in BETTER.items()
        if all(name in one.figures for one in versions)
    ]
    figure = curves_figure(panels, [0], at=[one.step for one in versions], counted="step")
    place = workspace / "reports" / f"along-{versions[-1].version_id[:12]}.png"
    replace_file(place, png_of(figure, is_transparent=False))
    return place.relative_to(workspace).as_posix()
