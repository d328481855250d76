"""From a release back to the ratings: versions, their rounds, reward models, campaigns."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from curate.release.tables import csv_bytes
from curate.workspace import Workspace
from db import queries
from db.models import Campaign, GeneratorVersion, RewardModel, Round
from db.queries.reward_models import RatingOfRewardModel

OF_VERSION = ("parent_id", "weights", "how_made", "config", "metrics", "reward_model_id")
OF_ROUND = (
    "number", "state", "start_version_id", "reward_model_id", "campaign_id", "gate_campaign_id",
    "metrics", "reasons",
)  # fmt: skip
OF_REWARD_MODEL = ("role", "backbone", "file_sha256", "num_ratings", "config", "metrics")
OF_CAMPAIGN = ("name", "backend", "seed", "overlap")
OF_CRITERION = ("name", "question", "min_value", "max_value", "polarity", "wording")


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
    versions, models, campaigns = {}, {}, {}
    for id_, version in lineage.versions.items():
        made_in = lineage.rounds.get(id_)
        versions[id_] = {
            **_told(version, *OF_VERSION),
            "generator": version.generator_name,
            "family": queries.versions.family_of(ws.session, version),
            "files": queries.versions.version_files(ws.session, id_),
            "round": made_in and {**_told(made_in, *OF_ROUND), "loop": made_in.loop_name},
        }
    for id_, model in lineage.reward_models.items():
        uses = Counter(r.use for r in lineage.ratings if r.reward_model_id == id_)
        models[id_] = {
            **_told(model, *OF_REWARD_MODEL),
            "simulated_ratings": model.simulated,
            "ratings_by_use": dict(uses),
        }
    for id_, campaign in lineage.campaigns.items():
        own = {r.rating_id: r.rater_id for r in lineage.ratings if r.campaign_id == campaign.id}
        criteria = queries.campaigns.criteria_of(ws.session, campaign.rubric_id)
        campaigns[id_] = {
            **_told(campaign, *OF_CAMPAIGN),
            "simulated_raters": campaign.simulated,
            "num_ratings_used": len(own),
            "num_raters": len(set(own.values())),
            "criteria": [_told(criterion, *OF_CRITERION) for criterion in criteria],
        }
    return {"versions": versions, "reward_models": models, "campaigns": campaigns}


def _told(row: object, *names: str) -> dict[str, Any]:
    """Return columns of a row in plain values."""
    values = {name: getattr(row, name) for name in names}
    return {name: str(v) if isinstance(v, UUID) else v for name, v in values.items()}


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
    told = [{**vars(row), "rated_at": row.rated_at.isoformat()} for row in lineage.ratings]
    return csv_bytes(RATING_COLUMNS, ([row[name] for name in RATING_COLUMNS] for row in told))
