"""`curate train-reward` and `curate score`: what they print."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from curate.commands.on_ray import ray_installed, tell_event
from curate.errors import CurateError
from curate.progress import progress
from curate.scoring.score import Scored, Which, count_scored, score_images
from curate.workspace import Workspace
from db import queries
from db.models import RewardModel


def describe_reward_model(row: RewardModel) -> dict[str, Any]:
    """Return a reward model's row as plain values."""
    return row.model_dump(mode="json")


def reward_model_lines(row: RewardModel) -> list[str]:
    """Return what held-out ratings say of a reward model, and what it found of the raters."""
    held_out, metrics = row.metrics["held_out"], row.metrics
    kind = "simulated ratings" if row.simulated else "ratings by people"
    pairs = f" and {metrics['num_comparisons']} comparisons" if metrics["num_comparisons"] else ""
    captioned = metrics.get("num_references", 0)  # no row of an earlier version says it
    seen = f", {captioned} captioned real images" if captioned else ""
    means = ", ".join(f"{v}: {mean:.2f}" for v, mean in sorted(held_out["mean_by_value"].items()))
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
        *_known_prompt_lines(metrics["known_prompts"]),
        *_table("by images learned from", metrics["learning_curve"], _curve_line),
        *_table("by modality and label", metrics["groups"], _group_line),
        *_table("by criterion", metrics["criteria"].items(), _criterion_line),
        *_table("raters", metrics["raters"], _rater_line),
        *(f"note: {note}" for note in metrics["notes"]),
    ]


def _known_prompt_lines(known: Mapping[str, Any]) -> list[str]:
    return [
        f"new images of prompts it knows: best against worst "
        f"{_figure(known['auc_top_or_bottom'])}, best against others "
        f"{_figure(known['auc_top_or_rest'])}, Spearman {_figure(known['spearman'])}, "
        f"ECE {_figure(known['ece'])}"
    ]


def _table(title: str, rows: Iterable[Any], line: Callable[[Any], str]) -> list[str]:
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


def score(ws: Workspace, reward_model: str, which: Which, *, ray: str | None = None) -> Scored:
    """Score what has no score of this model yet, showing progress; `ray` as in `on_ray`."""
    row = queries.reward_models.find_reward_model(ws.session, reward_model)
    num_images, num_scored = count_scored(ws, row, which)
    with progress(num_images - num_scored, "images") as advance:
        if ray is None or num_images == num_scored:
            return score_images(ws, row, advance=advance, which=which)
        with ray_installed():
            from curate.cluster.score import score_images_on_ray
        return score_images_on_ray(
            ws, row, advance=advance, address=ray, note=tell_event, which=which
        )


def which_images(ws: Workspace, version: str | None, origin: str | None) -> Which:
    """Return the images that the options name."""
    if origin not in (None, "real", "synthetic"):
        raise CurateError(f"--origin {origin}; known: real, synthetic.")
    version_id = queries.versions.find_version(ws.session, version).id if version else None
    return Which(version_id=version_id, origin=origin)


def score_lines(done: Scored) -> list[str]:
    """Return what a scoring did."""
    kind = " (fitted to simulated ratings)" if done.simulated else ""
    lines = [
        f"reward model {done.reward_model_id[:12]}{kind}: {done.new} images scored, "
        f"{done.already} were already"
    ]
    if done.unknown:
        lines.append(f"{done.unknown} images without a score: nobody rated their modality")
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
