"""What happened in a workspace, in plain values for the page."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curate.evaluation.config import EvaluationConfig
from curate.evaluation.judge import find_judge
from curate.evaluation.table import Evaluation, evaluate
from curate.progress import ShowProgress
from curate.release.figures import held_out_figures
from curate.release.selection import kind_of
from curate.report import plots
from curate.report.config import ReportConfig
from curate.report.pictures import Picture, picture_of
from curate.report.ratings import RatingsStory, ratings_stories
from curate.report.reward_figures import RewardFigures, reward_figures
from curate.report.shown import ShownCases, kept_shown
from curate.report.tree import Node, release_tree
from curate.report.versions import BeforeAfter, before_and_after, rated_shares, version_names
from curate.workspace import Workspace
from db import queries
from db.models import GeneratorVersion, Release, RewardModel, Round
from db.queries.images import ScoredImage
from db.queries.ratings import RatingView

HEALTH = {  # of an RL update: what a person should watch
    "reward_mean": "reward, mean ± sd",
    "spread_mean": "posterior standard deviation of the reward",
    "squared_change": "change of predictions from the start",
    "clipped_fraction": "clipped fraction",
    "gradient_norm": "gradient norm",
    "zero_spread_groups": "groups without a difference",
}
SHOWN_OVERLAYS = 8  # where the newest reward model looks
SHOWN_MODELS = 5  # newest reward models side by side


@dataclass(frozen=True)
class ReleaseStory:
    """One release: what it kept, why it left out the rest."""

    name: str
    id: str
    made_at: dt.datetime
    num_kept: int
    num_decisions: int
    threshold: float
    reasons: tuple[tuple[str, int], ...]
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class RewardModels:
    """The newest reward models side by side: a column each."""

    models: tuple[RewardModel, ...]
    figures: tuple[tuple[str, tuple[str, ...]], ...]  # name of the figure, a value a model


@dataclass(frozen=True)
class Story:
    """All that the page tells; None and empty where nothing happened yet."""

    name: str
    made_at: dt.datetime
    counts: Mapping[str, int]
    num_simulated: int  # ratings of simulated raters
    num_ratings: int
    names: Mapping[str, str]  # version id -> short name
    before_after: BeforeAfter | None
    samples: tuple[Picture, ...]  # where there is no before and after
    shown: ShownCases | None  # what a demo's family shows
    evaluation: Evaluation | None
    shares_plot: str | None
    scores_plot: str | None
    best: tuple[Picture, ...]
    worst: tuple[Picture, ...]
    scored_by: str | None
    ratings: tuple[RatingsStory, ...]
    reward_models: RewardModels | None
    reward_figures: RewardFigures | None  # of the newest reward model
    health_plot: str | None
    rounds: tuple[Round, ...]
    releases: tuple[ReleaseStory, ...]
    tree: Node | None


def tell(ws: Workspace, config: ReportConfig, progress: ShowProgress) -> Story:
    """Gather the story, newest state of everything; measures images, so it takes a while."""
    session = ws.session
    rounds = queries.rounds.rounds(session)
    versions = queries.versions.versions(session)
    names = version_names(versions, rounds)
    ratings = queries.ratings.current_ratings(session)
    models = queries.reward_models.reward_models(session, "reward")
    model_id = models[-1].id if models else None
    images = queries.images.synthetic_images(session, reward_model_id=model_id)
    releases = queries.releases.releases(session)
    measured = EvaluationConfig(images_per_version=config.images_per_version)
    evaluation = evaluate(ws, measured, progress) if images else None
    before_after = before_and_after(ws, find_judge(ws), names, config, model_id) if images else None
    # of the newest version that has scores, so that a round shows what it changed
    ranked = {v.id: _ranked(i for i in images if i.version_id == v.id) for v in versions}
    newest = next((own for own in reversed(ranked.values()) if own), [])
    num = min(config.num_best, len(newest) // 2)
    overlaid = _ranked(images)
    overlaid = overlaid[:: max(1, len(overlaid) // SHOWN_OVERLAYS)][:SHOWN_OVERLAYS]
    return Story(
        name=ws.folder.name,
        made_at=dt.datetime.now(dt.UTC),
        counts=queries.audit.counts(session),
        num_simulated=sum(rating.simulated for rating in ratings),
        num_ratings=len(ratings),
        names=names,
        before_after=before_after,
        samples=()
        if before_after
        else tuple(picture_of(ws, image) for image in images[: 2 * config.num_pairs]),
        shown=kept_shown(ws),
        evaluation=evaluation,
        shares_plot=_shares_plot(ratings, names, evaluation),
        scores_plot=_scores_plot(images, names, releases),
        best=tuple(picture_of(ws, image) for image in newest[:num]),
        worst=tuple(picture_of(ws, image) for image in newest[len(newest) - num :]),
        scored_by=model_id,
        ratings=ratings_stories(ws),
        reward_models=_reward_models(models),
        reward_figures=reward_figures(ws, models[-1], overlaid) if models else None,
        health_plot=_health_plot(versions),
        rounds=tuple(rounds),
        releases=tuple(_release_story(ws, row, config) for row in reversed(releases)),
        tree=release_tree(ws, releases[-1], names) if releases else None,
    )


def _ranked(images: Iterable[ScoredImage]) -> list[ScoredImage]:
    """Return the images that have a score, best first."""
    scored = [image for image in images if image.score is not None]
    return sorted(scored, key=lambda image: (-(image.score or 0), image.item_key))


def _shares_plot(
    ratings: Sequence[RatingView], names: Mapping[str, str], evaluation: Evaluation | None
) -> str | None:
    series = rated_shares(ratings, names)
    colours = dict.fromkeys(series, plots.RATERS)
    judged = {
        names[row.version_id]: row.figures.top_share
        for row in (evaluation.versions if evaluation else ())
        if row.figures.top_share is not None
    }
    if evaluation is not None and judged:
        series = {f"judge ({evaluation.judge})": judged, **series}
        colours[f"judge ({evaluation.judge})"] = plots.LAST
    real = evaluation.real.top_share if evaluation and evaluation.real else None
    order = [name for name in names.values() if any(name in points for points in series.values())]
    return plots.shares(series, colours, order, real) if series else None


def _scores_plot(
    images: Sequence[ScoredImage], names: Mapping[str, str], releases: Sequence[Release]
) -> str | None:
    scores = {
        name: [i.score for i in images if i.version_id == version_id and i.score is not None]
        for version_id, name in names.items()
    }
    known = {name: values for name, values in scores.items() if values}
    threshold = releases[-1].rule.get("threshold") if releases else None
    return plots.score_distributions(known, threshold) if known else None


def _health_plot(versions: Sequence[GeneratorVersion]) -> str | None:
    """The updates of all RL steps after one another."""
    updates: list[Mapping[str, Any]] = []
    starts: list[int] = []
    for version in versions:
        own = version.metrics.get("updates", [])
        if own:
            starts.append(len(updates))
            updates += own
    panels = []
    for key, title in HEALTH.items():
        if not updates or not all(key in update for update in updates):
            continue
        values = [float(update[key]) for update in updates]
        panel = plots.Curve(title, values)
        if key == "reward_mean" and all("reward_sd" in update for update in updates):
            around = [(v, float(u["reward_sd"])) for v, u in zip(values, updates, strict=True)]
            panel = replace(
                panel, low=[v - sd for v, sd in around], high=[v + sd for v, sd in around]
            )
        panels.append(panel)
    return plots.curves(panels, starts) if panels else None


def _reward_models(models: Sequence[RewardModel]) -> RewardModels | None:
    shown = models[-SHOWN_MODELS:]
    if not shown:
        return None
    flat = [held_out_figures(model.metrics) for model in shown]
    names = list(dict.fromkeys(name for figures in flat for name in figures))
    rows = tuple((name, tuple(figures.get(name, "–") for figures in flat)) for name in names)
    return RewardModels(tuple(shown), rows)


def _release_story(ws: Workspace, release: Release, config: ReportConfig) -> ReleaseStory:
    decisions = queries.releases.decisions_of(ws.session, release.id)
    kept = [row for row in decisions if row.decision == "kept"]
    best = sorted(kept, key=lambda row: (-(row.score or 0), str(row.image_id)))
    step = max(1, len(best) // config.num_of_release)  # evenly from best to worst
    shown = [row.image_id for row in best[::step][: config.num_of_release]]
    images = queries.images.synthetic_images_by_id(
        ws.session, shown, reward_model_id=release.reward_model_id
    )
    reasons = Counter(kind_of(row.reason) for row in decisions if row.decision == "rejected")
    return ReleaseStory(
        name=release.name,
        id=release.id,
        made_at=release.created_at,
        num_kept=len(kept),
        num_decisions=len(decisions),
        threshold=float(release.rule["threshold"]),
        reasons=tuple(reasons.most_common()),
        pictures=tuple(picture_of(ws, images[id_]) for id_ in shown),
    )
