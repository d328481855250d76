"""From a release back to the ratings: versions, their rounds, reward models, campaigns."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from curate.workspace import Workspace
from db import queries
from db.models import Campaign, GeneratorVersion, RewardModel, Round
from db.queries.reward_models import RatingOfRewardModel


@dataclass(frozen=True)
class Lineage:
    """All that a release descends from, each kind by id."""

    versions: dict[str, GeneratorVersion]
    rounds: dict[str, Round]  # by the version that the round made
    reward_models: dict[str, RewardModel]
    campaigns: dict[str, Campaign]
    ratings: list[RatingOfRewardModel]

    @property
    def simulated(self) -> bool:
        """Tell whether any rating behind the release came from a simulated rater."""
        return any(rating.simulated for rating in self.ratings)


def lineage_of(ws: Workspace, *, version_ids: Collection[str], reward_model_id: str) -> Lineage:
    """Walk back from versions and the reward model that chose, over every parent to the ratings."""
    versions = {
        version.id: version
        for version_id in sorted(version_ids)
        for version in queries.versions.ancestry(ws.session, version_id)
    }
    rounds = queries.rounds.rounds_that_made(ws.session, versions)
    drove = [version.reward_model_id for version in versions.values()]
    drove += [row.reward_model_id for row in rounds.values()]
    wanted = {reward_model_id, *(model_id for model_id in drove if model_id)}
    models = {
        model.id: model
        for model in queries.reward_models.reward_models(ws.session)
        if model.id in wanted
    }
    ratings = queries.reward_models.ratings_of_reward_models(ws.session, models)
    named = {rating.campaign_id for rating in ratings}
    named |= {
        id_ for row in rounds.values() for id_ in (row.campaign_id, row.gate_campaign_id) if id_
    }
    campaigns = {
        str(row.id): row for row in queries.campaigns.campaigns(ws.session) if row.id in named
    }
    return Lineage(versions, rounds, models, campaigns, ratings)


def lineage_json(ws: Workspace, lineage: Lineage) -> dict[str, Any]:
    """Return the lineage as the manifest holds it."""
    return {
        "versions": {
            id_: _version_json(ws, version, lineage.rounds.get(id_))
            for id_, version in lineage.versions.items()
        },
        "reward_models": {
            id_: _reward_model_json(model, lineage.ratings)
            for id_, model in lineage.reward_models.items()
        },
        "campaigns": {
            id_: _campaign_json(ws, campaign, lineage.ratings)
            for id_, campaign in lineage.campaigns.items()
        },
    }


def _version_json(
    ws: Workspace, version: GeneratorVersion, made_in: Round | None
) -> dict[str, Any]:
    return {
        "generator": version.generator_name,
        "family": queries.versions.family_of(ws.session, version),
        "parent_id": version.parent_id,
        "weights": version.weights,
        "how_made": version.how_made,
        "files": queries.versions.version_files(ws.session, version.id),
        "config": version.config,
        "metrics": version.metrics,
        "reward_model_id": version.reward_model_id,
        "round": None if made_in is None else _round_json(made_in),
    }


def _round_json(row: Round) -> dict[str, Any]:
    return {
        "loop": row.loop_name,
        "number": row.number,
        "state": row.state,
        "start_version_id": row.start_version_id,
        "reward_model_id": row.reward_model_id,
        "campaign_id": _text(row.campaign_id),
        "gate_campaign_id": _text(row.gate_campaign_id),
        "metrics": row.metrics,
        "reasons": row.reasons,
    }


def _reward_model_json(
    model: RewardModel, ratings: Sequence[RatingOfRewardModel]
) -> dict[str, Any]:
    uses = Counter(rating.use for rating in ratings if rating.reward_model_id == model.id)
    return {
        "role": model.role,
        "backbone": model.backbone,
        "file_sha256": model.file_sha256,
        "simulated_ratings": model.simulated,
        "num_ratings": model.num_ratings,
        "ratings_by_use": dict(uses),
        "config": model.config,
        "metrics": model.metrics,
    }


def _campaign_json(
    ws: Workspace, campaign: Campaign, ratings: Sequence[RatingOfRewardModel]
) -> dict[str, Any]:
    own = {rating.rating_id: rating for rating in ratings if rating.campaign_id == campaign.id}
    return {
        "name": campaign.name,
        "backend": campaign.backend,
        "simulated_raters": campaign.simulated,
        "seed": campaign.seed,
        "overlap": campaign.overlap,
        "num_ratings_used": len(own),
        "num_raters": len({rating.rater_id for rating in own.values()}),
        "criteria": [
            {
                "name": criterion.name,
                "question": criterion.question,
                "min_value": criterion.min_value,
                "max_value": criterion.max_value,
                "polarity": criterion.polarity,
                "wording": criterion.wording,
            }
            for criterion in queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
        ],
    }


RATING_COLUMNS = (
    "rating_id",
    "reward_model_id",
    "use",
    "campaign_id",
    "rater_id",
    "expert_level",
    "simulated",
    "criterion",
    "value",
    "min_value",
    "max_value",
    "purpose",
    "rated_at",
    "origin",
    "item_key",
    "file_sha256",
    "version_id",
)


def ratings_csv(lineage: Lineage) -> bytes:
    """Return every rating behind the release, raters by their identifiers and never by name."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(RATING_COLUMNS)
    for rating in lineage.ratings:
        values = {**vars(rating), "rated_at": rating.rated_at.isoformat()}
        table.writerow(["" if values[c] is None else values[c] for c in RATING_COLUMNS])
    return text.getvalue().encode()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
