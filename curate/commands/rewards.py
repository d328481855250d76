"""`curate train-reward` and `curate score`: what they print."""

from typing import Any

from curate.errors import CurateError
from curate.progress import progress
from curate.scoring import Scored, Which, count_scored, score_images
from curate.workspace import Workspace
from db import queries, queries_reward
from db.models import RewardModel


def describe_reward_model(row: RewardModel) -> dict[str, Any]:
    """Return a reward model's row as plain values."""
    return row.model_dump(mode="json")


def reward_model_lines(row: RewardModel) -> list[str]:
    """Return what held-out ratings say of a reward model."""
    held_out, metrics = row.metrics["held_out"], row.metrics
    kind = "simulated ratings" if row.simulated else "ratings by people"
    means = ", ".join(f"{v}: {mean:.2f}" for v, mean in sorted(held_out["mean_by_value"].items()))
    return [
        f"{row.role} model {row.id[:12]} fitted to {row.num_ratings} {kind} of "
        f"{metrics['num_images']} images by {metrics['num_raters']} raters, "
        f"backbone {row.backbone}",
        f"held out by {metrics['held_out_by']}: {held_out['num_ratings']} ratings of "
        f"{held_out['num_images']} images",
        f"  AUC best against worst rated   {_figure(held_out['auc_top_or_bottom'])}",
        f"  AUC best rated against others  {_figure(held_out['auc_top_or_rest'])}",
        f"  ... with images shuffled       {_figure(held_out['auc_images_shuffled'])} "
        "(0.5: it looks at the image)",
        f"  ... with prompts shuffled      {_figure(held_out['auc_prompts_shuffled'])}",
        f"  rank correlation (Spearman)    {_figure(held_out['spearman'])}",
        f"  mean score by rating           {means}",
        f"  calibration error (ECE)        {_figure(held_out['ece'])}",
    ]


def score(ws: Workspace, reward_model: str, which: Which) -> Scored:
    """Score what has no score of this model yet, showing progress."""
    row = queries_reward.find_reward_model(ws.session, reward_model)
    num_images, num_scored = count_scored(ws, row, which)
    with progress(num_images - num_scored, "images") as advance:
        return score_images(ws, row, advance=advance, which=which)


def which_images(ws: Workspace, version: str | None, origin: str | None) -> Which:
    """Return the images that the options name."""
    if origin not in (None, "real", "synthetic"):
        raise CurateError(f"--origin {origin}; known: real, synthetic.")
    version_id = queries.find_version(ws.session, version).id if version else None
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
