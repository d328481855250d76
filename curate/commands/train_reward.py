"""`curate train-reward`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.shared import Json, Loop, Workspace, tell
from curate.scoring.config import FitOptions
from curate.settings import takes_settings
from curate.training.config import TrackerOptions
from rewards.config import RewardConfig

if TYPE_CHECKING:
    from db.models import RewardModel


@takes_settings
def train_reward(
    options: FitOptions,
    config: RewardConfig,
    trackers: TrackerOptions,
    as_judge: Annotated[
        bool,
        typer.Option(
            "--as-judge", help="Fit a judge, which only measures, to other raters' ratings."
        ),
    ] = False,
    loop: Loop = None,
    workspace: Workspace = Path("."),
    as_json: Json = False,
) -> None:
    """Fit a reward model to the ratings; print its quality on held-out prompts.

    Example: curate train-reward
    """
    from curate.errors import CurateError
    from curate.production.work import at_work
    from curate.tracking import tracked_by
    from curate.workspace import open_workspace

    if loop and as_judge:
        raise CurateError(
            "--as-judge with --loop: a judge takes no part in a loop. Drop one of the two."
        )
    how = (config, options, as_judge, loop)
    with (
        open_workspace(workspace) as ws,
        at_work(ws.folder, "train-reward", *how),
        tracked_by(trackers.report_to),
    ):
        if loop is None:
            from curate.scoring.fit import train_reward as fit

            row = fit(ws, config, role="judge" if as_judge else "reward", **vars(options))
        else:
            from curate.loop.by_hand import train_for

            row = train_for(ws, loop, config, options)
        tell(as_json, row.model_dump(mode="json"), _lines(row))


def _lines(row: "RewardModel") -> list[str]:
    """Return what held-out ratings say of a reward model, and what it found of the raters."""
    held_out, metrics = row.metrics["held_out"], row.metrics
    kind = "simulated ratings" if row.simulated else "ratings by people"
    pairs = f" and {metrics['num_comparisons']} comparisons" if metrics["num_comparisons"] else ""
    captioned = metrics.get("num_references", 0)  # no row of an earlier version says it
    seen = f", {captioned} captioned real images" if captioned else ""
    means = ", ".join(f"{v}: {mean:.2f}" for v, mean in sorted(held_out["mean_by_value"].items()))
    known = metrics["known_prompts"]
    return [
        f"{row.role} model {row.id[:12]} fitted to {row.num_ratings} {kind}{pairs} of "
        f"{metrics['num_images']} images by {metrics['num_raters']} raters, "
        f"backbone {row.backbone}{seen}",
        f"cross-validated on {held_out['num_ratings']} ratings, whole patients and "
        f"{metrics['held_out_by']}s left out",
        f"  AUC best against worst rated   {_figure(held_out['auc_top_or_bottom'])}",
        f"  AUC best rated against others  {_figure(held_out['auc_top_or_rest'])}",
        f"  ... with images shuffled       {_figure(held_out['auc_images_shuffled'])} "
        "(0.5: it looks at the image)",
        f"  ... with prompts shuffled      {_figure(held_out['auc_prompts_shuffled'])}",
        f"  rank correlation (Spearman)    {_figure(held_out['spearman'])}",
        f"  mean score by rating           {means}",
        f"  calibration error (ECE)        {_figure(held_out['ece'])}",
        f"  exact rating guessed           {_figure(held_out['ordinal_accuracy'])}",
        f"  weighted kappa with a rating   {_figure(held_out['kappa'])} "
        f"(raters among themselves: {_figure(held_out['kappa_of_raters'])})",
        f"new images of prompts it knows: best against worst "
        f"{_figure(known['auc_top_or_bottom'])}, best against others "
        f"{_figure(known['auc_top_or_rest'])}, Spearman {_figure(known['spearman'])}, "
        f"ECE {_figure(known['ece'])}",
        *_section("by images learned from", metrics["learning_curve"], _curve_line),
        *_section("by modality and label", metrics["groups"], _group_line),
        *_section("by criterion", metrics["criteria"].items(), _criterion_line),
        *_section("raters", metrics["raters"], _rater_line),
        *(f"note: {note}" for note in metrics["notes"]),
    ]


def _section(title: str, rows: Iterable[Any], line: Callable[[Any], str]) -> list[str]:
    lines = [f"  {line(row)}" for row in rows]
    return [f"{title}:", *lines] if lines else []


def _curve_line(point: Mapping[str, Any]) -> str:
    return (
        f"{point['num_images']:>6} images  best against others "
        f"{_figure(point['auc_top_or_rest'])}, Spearman {_figure(point['spearman'])}"
    )


def _group_line(group: Mapping[str, Any]) -> str:
    name = group["modality"] if group["label"] is None else f"  {group['label']}"
    return (
        f"{name:<24} {group['num_ratings']:>5} ratings, best {100 * group['share_of_top']:3.0f} %, "
        f"mean score {group['mean_score']:.2f}, AUC {_figure(group['auc_top_or_rest'])}, "
        f"ECE {_figure(group['ece'])}"
    )


def _criterion_line(entry: tuple[str, Mapping[str, Any]]) -> str:
    name, figures = entry
    return (
        f"{name}: best against worst {_figure(figures['auc_top_or_bottom'])}, "
        f"Spearman {_figure(figures['spearman'])}, {figures['num_ratings']} ratings"
    )


def _rater_line(habits: Mapping[str, Any]) -> str:
    return (
        f"{habits['rater']}, {habits['criterion']}: severity {habits['severity']:+.2f} grades, "
        f"reliability {habits['reliability']:.2f}, random {100 * habits['lapses']:.0f} % of "
        f"{habits['num_answers']} answers"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
