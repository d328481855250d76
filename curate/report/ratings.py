"""What the ratings are worth, for the page: figures, two plots a group of raters, warnings."""

from dataclasses import dataclass

from annotation.agreement.rasch import NoFit
from curate.agreement.readers import RaterWorth
from curate.agreement.worth import Worth, ratings_worth
from curate.report import rating_plots
from curate.workspace import Workspace


@dataclass(frozen=True)
class RatingsStory:
    """One group of raters: people, or simulated ones."""

    worth: Worth
    agreement_plot: str | None
    severity_plot: str | None
    raters_plot: str | None

    def missing(self) -> list[str]:
        """Return what could not be had, and why, each reason once a criterion."""
        lines = []
        for worth in self.worth.criteria:
            reasons: dict[str, list[str]] = {}
            for figure in worth.figures:
                if figure.estimate is None:
                    reasons.setdefault(figure.reason, []).append(figure.name)
            if isinstance(worth.severity, NoFit):
                reasons.setdefault(worth.severity.reason, []).append("severity")
            lines += [
                f"{worth.criterion}: {', '.join(names)}: {why}" for why, names in reasons.items()
            ]
        return lines


def ratings_stories(ws: Workspace) -> tuple[RatingsStory, ...]:
    """Measure all ratings of the workspace, people first."""
    stories = []
    for worth in ratings_worth(ws):
        figures = {
            criterion.criterion: [f for f in criterion.figures if f.estimate is not None]
            for criterion in worth.criteria
        }
        severities = {
            criterion.criterion: criterion.severity.raters
            for criterion in worth.criteria
            if not isinstance(criterion.severity, NoFit)
        }
        story = RatingsStory(
            worth=worth,
            agreement_plot=rating_plots.agreement({n: own for n, own in figures.items() if own}),
            severity_plot=rating_plots.severities(severities),
            raters_plot=rating_plots.raters(_panels(worth.raters)),
        )
        stories.append(story)
    return tuple(stories)


def _panels(raters: tuple[RaterWorth, ...]) -> list[rating_plots.Panel]:
    """Shares with intervals and times, a panel each, where any rater has one."""
    shares = [
        rating_plots.Panel(
            "controls right, %",
            {r.rater: rating_plots.in_percent(r.controls) for r in raters if r.controls},
            chance=50,
        ),
        rating_plots.Panel(
            "real or synthetic told right, %",
            {
                r.rater: rating_plots.in_percent(r.turing.accuracy)
                for r in raters
                if r.turing and r.turing.accuracy
            },
            chance=50,
        ),
        rating_plots.Panel(
            "seconds an image: median and quarters",
            {
                r.rater: (r.pace.median_s, r.pace.quarter_s, r.pace.three_quarters_s)
                for r in raters
                if r.pace
            },
            chance=None,
        ),
    ]
    return [panel for panel in shares if panel.points]
