"""The way back: release -> versions -> rounds -> reward models -> campaigns -> ratings."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from curate.release.lineage import Lineage, lineage_of
from curate.release.manifest import parse_manifest
from curate.workspace import Workspace
from db.models import Campaign, GeneratorVersion, Release, RewardModel


@dataclass(frozen=True)
class Node:
    """One thing and what it came from."""

    kind: str
    title: str
    detail: str
    simulated: bool = False
    came_from: tuple["Node", ...] = ()


@dataclass
class _Tree:
    """A walk in progress; what was told once is named only."""

    lineage: Lineage
    names: Mapping[str, str]
    told: set[str] = field(default_factory=set)

    def version(self, version_id: str, note: str) -> Node:
        version = self.lineage.versions[version_id]
        title = f"{self.names.get(version_id, version.how_made)} · {version_id[:12]}"
        if version_id in self.told:
            return Node("generator version", title, f"{note}told above")
        self.told.add(version_id)
        came_from = [*self._made_by(version)]
        if version.parent_id is not None:
            came_from.append(self.version(version.parent_id, "parent; "))
        detail = f"{note}{version.generator_name}, {version.how_made}, {version.weights} weights"
        return Node("generator version", title, detail, came_from=tuple(came_from))

    def _made_by(self, version: GeneratorVersion) -> list[Node]:
        row = self.lineage.rounds.get(version.id)
        model_id = version.reward_model_id or (row.reward_model_id if row else None)
        model = self.lineage.reward_models.get(model_id or "")
        drove = () if model is None else (self.reward_model(model, "drove the RL step; "),)
        if row is None:
            return list(drove)
        title = f"round {row.number} of {row.loop_name}"
        return [Node("round", title, "; ".join([row.state, *row.reasons]), came_from=drove)]

    def reward_model(self, model: RewardModel, note: str) -> Node:
        detail = f"{note}{model.num_ratings} ratings, backbone {model.backbone}"
        if model.id in self.told:
            return Node("reward model", model.id[:12], f"{note}told above", model.simulated)
        self.told.add(model.id)
        ids = {str(r.campaign_id) for r in self.lineage.ratings if r.reward_model_id == model.id}
        campaigns = tuple(
            self._campaign(campaign, model)
            for id_, campaign in self.lineage.campaigns.items()
            if id_ in ids
        )
        return Node("reward model", model.id[:12], detail, model.simulated, campaigns)

    def _campaign(self, campaign: Campaign, model: RewardModel) -> Node:
        own = [
            rating
            for rating in self.lineage.ratings
            if rating.campaign_id == campaign.id and rating.reward_model_id == model.id
        ]
        uses = Counter(rating.use for rating in own)
        raters = len({rating.rater_id for rating in own})
        values = Counter(rating.value for rating in own)
        spread = ", ".join(f"{count} × {value}" for value, count in sorted(values.items(), key=str))
        detail = (
            f"{len(own)} ratings by {raters} {'simulated ' if campaign.simulated else ''}raters "
            f"({', '.join(f'{n} {use}' for use, n in sorted(uses.items()))}): {spread}"
        )
        return Node("campaign", campaign.name, detail, campaign.simulated)


def release_tree(ws: Workspace, release: Release, names: Mapping[str, str]) -> Node:
    """Return the way from a release back to its ratings."""
    manifest = parse_manifest(ws.store.get(release.manifest_sha256), name=release.name)
    images = Counter(image.version_id for image in manifest.images)
    model_id = release.reward_model_id or ""
    lineage = lineage_of(ws, version_ids=images, reward_model_id=model_id)
    tree = _Tree(lineage, names)
    versions = [tree.version(id_, f"{n} images; ") for id_, n in images.most_common()]
    chose = lineage.reward_models.get(model_id)
    came_from = versions if chose is None else [*versions, tree.reward_model(chose, "chose; ")]
    short = release.id[:12]
    title = short if release.name == short else f"{release.name} · {short}"
    return Node("release", title, f"{images.total()} images", came_from=tuple(came_from))
