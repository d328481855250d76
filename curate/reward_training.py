"""Ratings -> a fitted reward model -> its row, with the ratings that made it.

Shapes: N rated images, R ratings, D features.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from curate.errors import CurateError
from curate.rating import goodness, unknown_campaign
from curate.stored_images import batches
from curate.workspace import Workspace
from db import queries, queries_rating, queries_reward
from db.models import RewardModel as RewardModelRow
from db.queries import RatingView
from rewards.backbones import Backbone, load_backbone
from rewards.config import RewardConfig
from rewards.model import RewardModel
from rewards.ratings import RatedImages

PURPOSES = ("train", "calibration")  # what gates, controls and repeats say is kept for measuring
TOP_LEVEL = 3  # a specialist's rating weighs 1 in the loss, a trainee's a third
IMAGES_A_BATCH = 64
ROLES = ("reward", "judge")


def train_reward(
    ws: Workspace,
    config: RewardConfig | None = None,
    *,
    role: str = "reward",
    campaigns: Sequence[str] = (),
    raters: Sequence[str] = (),
    backbone: Backbone | None = None,
) -> RewardModelRow:
    """Fit a reward model to the ratings that count and keep it; return its row, metrics included.

    The same ratings and settings give the row that is there already. A judge takes the ratings of
    raters, and a backbone, that no reward model has; their ratings then train no reward model.
    Raises CurateError or RewardError when the ratings do not do.
    """
    if role not in ROLES:
        raise ValueError(f"role {role!r}; known: {ROLES}")
    config = config or RewardConfig()
    views = ratings_to_train_on(ws, role=role, campaigns=campaigns, raters=raters)
    if role == "judge":
        _check_apart(ws, views, config)
    rating_ids = sorted(str(view.rating_id) for view in views)
    made_with = {**config.to_json(), "ratings_sha256": queries.json_hash(rating_ids)}
    for known in queries_reward.reward_models(ws.session, role):
        if known.config == made_with:
            return known
    backbone = backbone or load_backbone(config.backbone)
    model = RewardModel(backbone, config).fit(_rated_images(ws, views, backbone))
    return _keep(ws, model, views, role, made_with)


def load_reward_model(
    ws: Workspace, name: str = queries_reward.LATEST, *, backbone: Backbone | None = None
) -> RewardModel:
    """Open a kept reward model by the beginning of its id, or the latest that is no judge."""
    row = queries_reward.find_reward_model(ws.session, name)
    return RewardModel.load(ws.store.local_path(row.file_sha256), backbone)


def ratings_to_train_on(
    ws: Workspace,
    *,
    role: str = "reward",
    campaigns: Sequence[str] = (),
    raters: Sequence[str] = (),
) -> list[RatingView]:
    """Return the ratings to fit to, in a fixed order: of people, where people have rated.

    Kept for measuring and left out: gates, controls and repeats, and for a reward model the
    raters of a judge. `campaigns` and `raters` narrow the choice.
    """
    wanted = {_campaign_id(ws, name) for name in campaigns}
    others = queries_reward.raters_behind(ws.session, "judge" if role == "reward" else "reward")
    reserved = set() if raters else others
    views = [
        view
        for view in queries.current_ratings(ws.session, purposes=PURPOSES)
        if (not wanted or view.campaign_id in wanted)
        and (not raters or view.rater in raters)
        and view.rater not in reserved
    ]
    if not all(view.simulated for view in views):
        views = [view for view in views if not view.simulated]
    _check_one_question(views)
    return sorted(views, key=_order)


def _order(view: RatingView) -> tuple[object, ...]:
    return (view.file_sha256, view.prompt_id, view.rater, view.rated_at, str(view.rating_id))


def _campaign_id(ws: Workspace, name: str) -> object:
    campaign = queries_rating.find_campaign(ws.session, name)
    if campaign is None:
        raise unknown_campaign(name, [row.name for row in queries_rating.campaigns(ws.session)])
    return campaign.id


def _check_one_question(views: Sequence[RatingView]) -> None:
    questions = {(view.criterion, view.min_value, view.max_value) for view in views}
    if len(questions) > 1:
        shown = ", ".join(f"{name} {low}..{high}" for name, low, high in sorted(questions))
        raise CurateError(
            f"Ratings on several criteria ({shown}), but a reward model answers one question. "
            "Choose campaigns of one with --campaign."
        )


def _check_apart(ws: Workspace, views: Sequence[RatingView], config: RewardConfig) -> None:
    """A judge that shares raters or backbone with a reward measures what it was trained for."""
    shared = {view.rater for view in views} & queries_reward.raters_behind(ws.session, "reward")
    if shared:
        raise CurateError(
            f"Reward models were fitted to ratings of {', '.join(sorted(shared))}. A judge needs "
            "other raters: name them with --rater, or ask some with `curate rate push`."
        )
    rewards = queries_reward.reward_models(ws.session, "reward")
    if config.backbone in {model.backbone for model in rewards}:
        raise CurateError(
            f"Backbone {config.backbone!r} is under a reward model already. A judge needs another: "
            "--backbone features, or one of torchvision's."
        )


def _rated_images(ws: Workspace, views: Sequence[RatingView], backbone: Backbone) -> RatedImages:
    keys = list(dict.fromkeys((view.file_sha256, view.prompt_id) for view in views))
    place = {key: number for number, key in enumerate(keys)}
    first = {(view.file_sha256, view.prompt_id): view for view in reversed(views)}
    shown = [first[key] for key in keys]
    low, high = (views[0].min_value, views[0].max_value) if views else (1, 3)
    return RatedImages(
        features_ND=features_of(ws, backbone, [view.file_sha256 for view in shown]),
        modalities=[view.modality for view in shown],
        texts=[view.text for view in shown],
        prompts=[view.prompt_id for view in shown],
        image_R=torch.tensor([place[view.file_sha256, view.prompt_id] for view in views]),
        grade_R=torch.tensor([goodness(view) - low for view in views]),
        raters=[view.rater for view in views],
        weight_R=torch.tensor([view.expert_level / TOP_LEVEL for view in views]),
        values=range(low, high + 1),
    )


def _keep(
    ws: Workspace,
    model: RewardModel,
    views: Sequence[RatingView],
    role: str,
    made_with: dict[str, object],
) -> RewardModelRow:
    path = ws.cache / f"reward-{os.getpid()}.safetensors"
    model.save(path)
    [sha256] = queries.add_files(
        ws.session, ws.store, [(path.read_bytes(), "application/x-safetensors")]
    )
    path.unlink()
    held_out = set(model.held_out_ratings_)
    uses = {
        view.rating_id: "held-out" if number in held_out else "fitted"
        for number, view in enumerate(views)
    }
    row = RewardModelRow(
        id=queries.json_hash([sha256, role, made_with]),
        role=role,
        backbone=model.config.backbone,
        file_sha256=sha256,
        simulated=any(view.simulated for view in views),
        num_ratings=len(views),
        config=made_with,
        metrics=_metrics(model, views),
    )
    queries.record_event(ws.session, "train-reward", {"reward_model": row.id, "role": role})
    return queries_reward.add_reward_model(ws.session, row, uses)


def _metrics(model: RewardModel, views: Sequence[RatingView]) -> dict[str, object]:
    assert model.quality_ is not None  # fitted just now
    return {
        "held_out": model.quality_.to_json(),
        "held_out_by": model.held_out_by_,
        "num_raters": len({view.rater for view in views}),
        "num_images": len({(view.file_sha256, view.prompt_id) for view in views}),
    }


@torch.no_grad()
def features_of(ws: Workspace, backbone: Backbone, sha256s: Sequence[str]) -> Tensor:
    """Return the backbone's features [N, D] of stored images; those seen before are cached."""
    path = ws.cache / "features" / f"{backbone.fingerprint[:32]}.safetensors"
    known = _read_features(path)
    missing = sorted(set(sha256s) - known.keys())
    for positions, images_B3HW in batches(ws.store, missing, IMAGES_A_BATCH):
        for position, features_D in zip(positions, backbone.features(images_B3HW), strict=True):
            known[missing[position]] = features_D.clone()
    if missing:
        _write_features(path, known)
    if not sha256s:
        return torch.zeros(0, backbone.dim)
    return torch.stack([known[sha256] for sha256 in sha256s])


def _read_features(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            hashes = json.loads((file.metadata() or {})["sha256s"])
            return dict(zip(hashes, file.get_tensor("features_ND"), strict=True))
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}  # a torn cache is worth nothing: made again


def _write_features(path: Path, features: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(
        {"features_ND": torch.stack(list(features.values()))},
        part,
        metadata={"sha256s": json.dumps(list(features))},
    )
    part.replace(path)
